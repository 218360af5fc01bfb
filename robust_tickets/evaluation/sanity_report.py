"""Signs that a robust accuracy misleads: gradients that attacks cannot climb, networks that are no functions.

The checks follow Carlini et al. 2019, "On Evaluating Adversarial Robustness", section 3, and Athalye et al.
2018, "Obfuscated Gradients Give a False Sense of Security", section 3.1.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from robust_tickets.base.ledger import Passes

if TYPE_CHECKING:  # reports are read without torch
    from torch import Tensor

    from robust_tickets.evaluation.result import RobustnessRow

CHANCE = 0.02  # share of all samples by which two honest attacks may differ in the wrong direction
_FEWEST = 2  # of few samples, so many may always differ
ROUGH = "one step finds what many do not: the loss surface is rough, or the gradient is masked"
STUCK = "an attack that gets weaker in a larger ball is stuck: the gradient misleads it"


_CONTRARIES = {
    "there are enough images": "there are few images",
    "the network is deterministic": "the network is not deterministic",
    "the network is better than chance": "the network is no better than chance",
    "random noise hardly hurts": "random noise hurts",
    "every sample has a gradient": "samples have no gradient",
    "a larger eps breaks more": "a larger eps breaks less",
    "almost no sample is robust": "many samples are robust",
    "stronger attacks break more": "stronger attacks break less",
    "a few more starts break few more": "a few more starts break many more",
    "a black box is no stronger than a white box": "a black box is stronger than a white box",
    "FGSM is no stronger than PGD": "FGSM is stronger than PGD",
    "robust accuracy falls as eps grows": "robust accuracy does not fall as eps grows",
}
"""How the names of checks begin, and what is found where one does not pass."""


@dataclass(frozen=True)
class SanityCheck:
    """One sanity check.

    name: the rule that should hold.
    figure: the measured values in a line.
    passed: whether the rule holds.
    otherwise: what it means where it does not.
    """

    name: str
    figure: str
    passed: bool
    otherwise: str

    @property
    def finding(self) -> str:
        """What was found, in words: the rule, or its contrary where it does not hold."""
        if not self.passed:
            for rule, contrary in _CONTRARIES.items():
                if self.name.startswith(rule):
                    return contrary + self.name.removeprefix(rule)
        return self.name


@dataclass(frozen=True)
class SanityReport:
    """The checks of one network, the number of samples they looked at, and the passes they took."""

    checks: tuple[SanityCheck, ...]
    samples: int
    passes: Passes

    @property
    def warnings(self) -> list[str]:
        """A line for each check that did not pass."""
        return [f"{c.finding}: {c.figure}; {c.otherwise}" for c in self.checks if not c.passed]

    def merge(self, checks: Iterable[SanityCheck]) -> "SanityReport":
        """The report with more checks, which replace those of the same name."""
        by_name = {check.name: check for check in (*self.checks, *checks)}
        return replace(self, checks=tuple(by_name.values()))

    def __str__(self) -> str:
        lines = []
        for check in self.checks:
            lines.append(f"{'pass' if check.passed else 'WARN'}  {check.name}: {check.figure}")
            if not check.passed:
                lines.append(f"      {check.otherwise}")
        return "\n".join(lines)


NO_CHECKS = SanityReport((), 0, Passes())
"""The report of an evaluation without sanity checks."""


def order_of_attacks(rows: "Sequence[RobustnessRow]") -> Iterator[SanityCheck]:
    """Compare FGSM with attacks of many steps, on all samples, where both were run."""
    weak = next((row for row in rows if row.attack == "fgsm"), None)
    strong = [row.accuracy for row in rows if _is_strong(row)]
    if weak is not None and strong:
        n = len(weak.robust)
        yield SanityCheck(
            "FGSM is no stronger than PGD",
            f"FGSM {percent(weak.accuracy)}, PGD {percent(min(strong))}, of {n}",
            weak.accuracy >= min(strong) - allowed(CHANCE / 4, n),
            ROUGH,
        )


def _is_strong(row: "RobustnessRow") -> bool:
    """Whether an attack moves far enough to be compared with one step: PGD across the ball, or APGD."""
    if row.attack.startswith(("apgd", "aa-apgd", "autoattack")):
        return True
    settings = dict(word.split("=", 1) for word in row.settings.split() if "=" in word)
    if not row.attack.startswith("pgd") or not {"steps", "rel_step"} <= settings.keys():
        return False
    return int(settings["steps"]) >= 5 and int(settings["steps"]) * float(settings["rel_step"]) >= 2


def order_of_eps(worst: Mapping[str, float], samples: int) -> Iterator[SanityCheck]:
    """Check that robust accuracy falls as eps grows.

    worst: the worst case at each eps, fractions, from the smallest eps on.
    samples: how many there are.
    """
    if len(worst) > 1:
        shares = list(worst.values())
        yield SanityCheck(
            "robust accuracy falls as eps grows",
            ", ".join(f"{percent(share)} at {eps}" for eps, share in worst.items()),
            all(b <= a + allowed(CHANCE / 4, samples) for a, b in pairwise(shares)),
            STUCK,
        )


def allowed(share: float, samples: int) -> float:
    """The difference that chance may make: this share, and of few samples at least two of them."""
    return max(share, _FEWEST / samples)


def share(flags: "Tensor") -> float:
    """The share of True, bool (N,)."""
    return float(flags.cpu().double().mean())


def percent(share: float) -> str:
    """A fraction as per cent."""
    return f"{100 * share:.1f} %"
