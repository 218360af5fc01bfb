"""The result of one attack on all samples, and how certain it is."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from robust_tickets.base.ledger import Passes


@dataclass(frozen=True)
class RobustnessRow:
    """The result of one attack on N samples.

    attack: its name.
    robust: bool (N,), True where a sample is right, clean and at every iterate.
    seconds: of the attack, without the look at clean images.
    forwards, backwards: samples through the network.
    settings: how the attack was built, in one line.
    broken_by: how many samples each attack of an ensemble broke.
    outside: samples for which a third-party attack gave images outside ball or box, which do not count.
    """

    attack: str
    robust: Tensor
    seconds: float
    forwards: int
    backwards: int
    settings: str = ""
    broken_by: dict[str, int] = field(default_factory=dict)
    outside: int = 0

    @property
    def accuracy(self) -> float:
        """Robust accuracy, a fraction: right on the clean image and at every iterate of the attack."""
        return float(self.robust.double().mean())

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy on images like these (Wilson 1927), fractions."""
        from scipy.stats import binomtest  # over a second to import, and most commands need no interval

        interval = binomtest(int(self.robust.sum()), len(self.robust)).proportion_ci(method="wilson")
        return float(interval.low), float(interval.high)

    @property
    def passes(self) -> Passes:
        """The passes, as a ledger counts them."""
        return Passes(forward=self.forwards, input_backward=self.backwards)

    def by_class(self, labels: Tensor, classes: int) -> list[float]:
        """The accuracy on each class's samples, fractions; NaN for a class without any."""
        return [float(self.robust[labels == k].double().mean()) for k in range(classes)]


def worst_case(rows: Sequence[RobustnessRow]) -> RobustnessRow:
    """The worst case over the rows: right on the clean image and under every attack; costs add up."""
    robust = rows[0].robust.clone()
    for row in rows[1:]:
        robust &= row.robust
    return RobustnessRow(
        f"worst-case({' '.join(row.attack for row in rows)})",
        robust,
        seconds=sum(row.seconds for row in rows),
        forwards=sum(row.forwards for row in rows),
        backwards=sum(row.backwards for row in rows),
        outside=sum(row.outside for row in rows),
    )
