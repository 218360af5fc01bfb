"""Verdicts on claims: holds, does not hold, or undecided, by intervals over paired seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Literal

from robust_tickets.report.verdict import LEAST_SEEDS, interval

MARGIN = 0.01
"""A claim that two arms are the same allows a difference of so much: one point of accuracy."""

Kind = Literal["more", "same"]
"""more: the mean difference is above zero; same: it is within `MARGIN` of zero."""

Status = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True)
class Contrast:
    """Differences between two arms that share init and batches.

    label: names the two arms, the second of which is subtracted from the first.
    differences: one a seed, fractions.
    kind: what is claimed of their mean.
    """

    label: str
    differences: tuple[float, ...]
    kind: Kind = "more"

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean, Student's t over pairs; None for fewer than two seeds."""
        return interval(list(self.differences)) if len(self.differences) > 1 else None

    @property
    def status(self) -> Status:
        """The verdict by the interval alone, however many the seeds; undecided for fewer than three.

        more: holds with zero below the interval, does not hold with zero above it. same: holds with the
        interval within the margin, does not hold with it beyond the margin.
        """
        if self.interval is None or len(self.differences) < LEAST_SEEDS:
            return "undecided"
        low, high = self.interval
        if self.kind == "more":
            holds, fails = low > 0, high < 0
        else:
            holds, fails = low > -MARGIN and high < MARGIN, low > MARGIN or high < -MARGIN
        if holds:
            return "holds"
        return "does not hold" if fails else "undecided"

    def __str__(self) -> str:
        """The mean in points with its interval, and each seed's difference."""
        if not self.differences:
            return f"{self.label}: no seed has both: {self.status}"
        by_seed = ", ".join(points(difference) for difference in self.differences)
        text = f"{self.label}: {points(mean(self.differences))} points"
        if self.interval is not None:
            low, high = self.interval
            text += f" (95 % interval {points(low)} to {points(high)})"
        return f"{text}; by seed {by_seed}: {self.status}"


@dataclass(frozen=True)
class Claim:
    """A sentence, and the contrasts that decide it."""

    text: str
    contrasts: tuple[Contrast, ...]

    @property
    def status(self) -> Status:
        """Holds if all contrasts do; does not hold if one does not."""
        statuses = [contrast.status for contrast in self.contrasts]
        if statuses and all(status == "holds" for status in statuses):
            return "holds"
        return "does not hold" if "does not hold" in statuses else "undecided"

    def __str__(self) -> str:
        """The verdict, and each contrast in a line."""
        n = min((len(contrast.differences) for contrast in self.contrasts), default=0)
        verdict = f"**{self.text}: {self.status} at {n} seed{'s' * (n != 1)}.**"
        if n == 1:
            verdict += f" One seed gives no interval: run more, at least --seeds {LEAST_SEEDS}."
        elif 0 < n < LEAST_SEEDS:
            verdict += f" A verdict needs {LEAST_SEEDS} seeds."
        return "\n".join([verdict, "", *(f"- {contrast}" for contrast in self.contrasts)])


def contrast(label: str, first: Sequence[float], second: Sequence[float], kind: Kind = "more") -> Contrast:
    """The contrast of two arms' figures, seed by seed. Raises ValueError for different numbers of seeds."""
    return Contrast(label, tuple(a - b for a, b in zip(first, second, strict=True)), kind)


def points(difference: float) -> str:
    """A difference of accuracies, a fraction, in points with its sign."""
    # rounded first, so that no "-0.0" is printed
    return f"{round(100 * difference, 1) + 0.0:+.1f}"
