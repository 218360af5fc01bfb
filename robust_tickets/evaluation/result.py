"""What one attack did to all samples, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from scipy.stats import binomtest
from torch import Tensor

from robust_tickets.base.ledger import Passes


@dataclass(frozen=True)
class RobustnessRow:
    """What one attack did: `standing` bool (N,) is True where a sample is right, clean and attacked.

    settings: the attack as it was built; `broken_by`: how many samples each attack of an ensemble broke;
    outside: for how many samples a foreign attack gave images outside ball or box, which do not count.
    """

    attack: str
    standing: Tensor
    seconds: float
    forwards: int
    backwards: int
    settings: str = ""
    broken_by: dict[str, int] = field(default_factory=dict)
    outside: int = 0

    @property
    def accuracy(self) -> float:
        """Robust accuracy, a fraction: right on the clean image and at every iterate of the attack."""
        return float(self.standing.double().mean())

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy on images like these (Wilson 1927), fractions."""
        found = binomtest(int(self.standing.sum()), len(self.standing)).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    @property
    def passes(self) -> Passes:
        """The passes, as a ledger counts them."""
        return Passes(forward=self.forwards, input_backward=self.backwards)

    def by_class(self, labels: Tensor, classes: int) -> list[float]:
        """The accuracy on each class's samples, fractions; NaN for a class without any."""
        return [float(self.standing[labels == k].double().mean()) for k in range(classes)]


def worst_case(rows: Sequence[RobustnessRow]) -> RobustnessRow:
    """Right on the clean image and under every attack of the rows; costs what they cost together."""
    standing = rows[0].standing.clone()
    for row in rows[1:]:
        standing &= row.standing
    seconds = sum(row.seconds for row in rows)
    name = f"worst-case({' '.join(row.attack for row in rows)})"
    forwards, backwards = sum(row.forwards for row in rows), sum(row.backwards for row in rows)
    return RobustnessRow(
        name, standing, seconds, forwards, backwards, outside=sum(row.outside for row in rows)
    )
