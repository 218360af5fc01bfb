"""What figures say of a claim: holds, does not hold, or undecided, by intervals over paired seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Literal

from robust_tickets.report.verdict import LEAST_SEEDS, interval

ENOUGH_SEEDS = 5
"""With so many seeds a difference that is not seen is said not to hold; with fewer it is undecided."""

SAME = 0.01
"""Fractions that differ by less are called equal: one point of accuracy."""

Status = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True)
class Contrast:
    """Differences of two arms that share init and batches, one a seed, and what is claimed of their mean.

    more: that it is above zero; same: that it lies within `SAME` of zero. `label` says what is subtracted
    from what.
    """

    label: str
    differences: tuple[float, ...]
    claimed: Literal["more", "same"] = "more"

    @property
    def between(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean, Student's t over pairs; None where there are not two."""
        return interval(list(self.differences)) if len(self.differences) > 1 else None

    @property
    def status(self) -> Status:
        """What the interval says: nothing with fewer than three seeds; a verdict where it excludes zero
        (same: lies within the margin, or beyond it); with five, that a difference that is not seen does not
        hold.
        """
        n, found = len(self.differences), self.between
        if found is None or n < LEAST_SEEDS:
            return "undecided"
        low, high = found
        if self.claimed == "more":
            holds, falls = low > 0, high < 0 or n >= ENOUGH_SEEDS
        else:
            holds, falls = low > -SAME and high < SAME, low > SAME or high < -SAME
        if holds:
            return "holds"
        return "does not hold" if falls else "undecided"

    def __str__(self) -> str:
        """The mean in points with its interval, and each seed's difference."""
        if not self.differences:
            return f"{self.label}: no seed has both: {self.status}"
        by_seed = ", ".join(_points(d) for d in self.differences)
        found = self.between
        between = f" (95 % interval {_points(found[0])} to {_points(found[1])})" if found else ""
        shown = f"{_points(mean(self.differences))} points{between}"
        return f"{self.label}: {shown}; by seed {by_seed}: {self.status}"


@dataclass(frozen=True)
class Claim:
    """A sentence, and the contrasts that it stands or falls with."""

    text: str
    contrasts: tuple[Contrast, ...]

    @property
    def status(self) -> Status:
        """Holds if all contrasts do; does not hold if one does not."""
        found = [contrast.status for contrast in self.contrasts]
        if found and all(status == "holds" for status in found):
            return "holds"
        return "does not hold" if "does not hold" in found else "undecided"

    def __str__(self) -> str:
        """The verdict, and each contrast in a line."""
        n = min((len(c.differences) for c in self.contrasts), default=0)
        seeds = f"{n} seed{'s' * (n != 1)}"
        if n == 0:
            why = ""
        elif n == 1:
            why = " One seed cannot give an interval: run more, --seeds 3 at least."
        elif n < LEAST_SEEDS:
            why = (
                f" A verdict needs {LEAST_SEEDS} seeds and an interval that excludes zero, or {ENOUGH_SEEDS}."
            )
        else:
            why = ""
        lines = [f"- {contrast}" for contrast in self.contrasts]
        return "\n".join([f"**{self.text}: {self.status} at {seeds}.**{why}", "", *lines])


def contrast(
    label: str, one: Sequence[float], other: Sequence[float], claimed: Literal["more", "same"] = "more"
) -> Contrast:
    """The contrast of two arms' figures, seed by seed."""
    return Contrast(label, tuple(a - b for a, b in zip(one, other, strict=True)), claimed)


def _points(difference: float) -> str:
    # rounded first, so that no "-0.0" is printed
    return f"{round(100 * difference, 1) + 0.0:+.1f}"
