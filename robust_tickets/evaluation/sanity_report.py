"""Signs that a robust accuracy misleads: gradients that attacks cannot climb, nets that are not functions.

The checks follow Carlini et al. 2019, "On Evaluating Adversarial Robustness", section 3, and Athalye et al.
2018, "Obfuscated Gradients Give a False Sense of Security", section 3.1.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import Tensor

from robust_tickets.base.ledger import Passes
from robust_tickets.evaluation.result import RobustnessRow

CHANCE = 0.02  # of all samples: what two honest attacks may differ by in the wrong direction
_FEW = 2  # samples that no share of few samples is taken to mean anything below
ROUGH = "one step finds what many do not: the loss surface is rough, or the gradient is masked"
STUCK = "an attack that gets weaker in a larger ball is stuck: the gradient misleads it"


@dataclass(frozen=True)
class SanityCheck:
    """One check: its name, what was measured, whether that is as it should be, and why it matters if not."""

    name: str
    figure: str
    passed: bool
    otherwise: str


@dataclass(frozen=True)
class SanityReport:
    """All checks of one net, on how many samples, and the passes they took."""

    checks: tuple[SanityCheck, ...]
    samples: int
    passes: Passes

    @property
    def warnings(self) -> list[str]:
        """The checks that did not pass, in words."""
        return [f"{c.name}: {c.figure}; {c.otherwise}" for c in self.checks if not c.passed]

    def also(self, checks: Iterable[SanityCheck]) -> "SanityReport":
        """With more checks, in place of those of the same name."""
        whole = {check.name: check for check in (*self.checks, *checks)}
        return replace(self, checks=tuple(whole.values()))

    def __str__(self) -> str:
        """A line a check, and what a warning means."""
        lines = []
        for check in self.checks:
            lines.append(f"{'pass' if check.passed else 'WARN'}  {check.name}: {check.figure}")
            if not check.passed:
                lines.append(f"      {check.otherwise}")
        return "\n".join(lines)


def order_of_attacks(rows: Sequence[RobustnessRow]) -> Iterator[SanityCheck]:
    """FGSM against attacks of many steps on all samples, where both were run."""
    weak = next((row for row in rows if row.attack == "fgsm"), None)
    strong = [row.accuracy for row in rows if _is_strong(row)]
    if weak is not None and strong:
        n = len(weak.standing)
        yield SanityCheck(
            "FGSM is no stronger than PGD",
            f"FGSM {percent(weak.accuracy)}, PGD {percent(min(strong))}, of {n}",
            weak.accuracy >= min(strong) - allowed(CHANCE / 4, n),
            ROUGH,
        )


def _is_strong(row: RobustnessRow) -> bool:
    """Whether an attack climbs far enough to be held against one step: PGD across the ball, or APGD."""
    if row.attack.startswith(("apgd", "autoattack")):
        return True
    settings = dict(word.split("=", 1) for word in row.settings.split() if "=" in word)
    if not row.attack.startswith("pgd") or not {"steps", "rel_step"} <= settings.keys():
        return False
    return int(settings["steps"]) >= 5 and int(settings["steps"]) * float(settings["rel_step"]) >= 2


def order_of_eps(worst: Mapping[str, float], samples: int) -> Iterator[SanityCheck]:
    """Robust accuracies of so many samples, fractions, from the smallest eps to the largest."""
    if len(worst) > 1:
        shares = list(worst.values())
        yield SanityCheck(
            "robust accuracy falls as eps grows",
            ", ".join(f"{percent(share)} at {eps}" for eps, share in worst.items()),
            all(b <= a + allowed(CHANCE / 4, samples) for a, b in pairwise(shares)),
            STUCK,
        )


def allowed(share: float, samples: int) -> float:
    """A share that chance may make, of so many samples at least two."""
    return max(share, _FEW / samples)


def share(which: Tensor) -> float:
    return float(which.double().mean())


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
