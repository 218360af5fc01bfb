"""The text under the timing table: what was saved, against which arm, at what robust accuracy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.chance import arms_at_chance
from robust_tickets.report.conditions import conditions
from robust_tickets.report.judge import Judge, judge
from robust_tickets.report.marks import seconds_marks
from robust_tickets.report.read import ArmResult

LEAST_SEEDS = 3
"""Fewer seeds give no interval that anyone should act on."""

Results = dict[str, list[ArmResult]]
"""The results of each arm, over the same seeds."""


def verdict(results: Results, recipe: Recipe, machines: int = 1) -> str:
    """One paragraph that the figures support: the arms' sentences, or what cannot be said without them.

    Empty where the ticket or dense is at chance, which `chance.chance_note` says.

    machines: on how many the run was computed; ratios of their seconds are marked as in the table.
    """
    if not any(ARMS[arm].network == "ticket" for arm in results):
        return "No ticket was trained, so nothing can be said of one."
    if "ticket" not in results:
        return ""
    own_judge = judge(results, recipe)
    if {"ticket", "dense"} & set(arms_at_chance(results, own_judge, recipe)):
        return ""
    found = conditions(results)
    disturbed = frozenset(arm for arm in results if found[arm].disturbed)
    figures = {arm: ArmFigures(arm, results, machines, own_judge, recipe, disturbed) for arm in results}
    sentences = [
        arm.sentence(figures) if name in results else arm.caveat(recipe) for name, arm in ARMS.items()
    ]
    return " ".join(filter(None, sentences))


@dataclass(frozen=True)
class ArmFigures:
    """The figures of one arm as text: means over the seeds, everything that is charged included.

    disturbed: the arms whose seconds are too high to be compared (`conditions.conditions`).
    """

    arm: str
    results: Results
    machines: int = 1
    judge: Judge = Judge("pgd-20")
    recipe: Recipe = Recipe()
    disturbed: frozenset[str] = frozenset()

    @property
    def epochs(self) -> str:
        """Its length, such as "12 epochs"."""
        n = mean(result.about["epochs"] for result in self.results[self.arm])
        return f"{n:.4g} epoch{'s' * (n != 1)}"

    @property
    def robust(self) -> str:
        """Its robust accuracy, such as "34.6 %"."""
        return f"{100 * mean(map(self.judge.accuracy, self.results[self.arm])):.1f} %"

    def flops(self, other: str) -> str:
        """The ratio of its FLOPs to those of another arm."""
        return self._ratio(other, "flops")

    def costs(self, other: str) -> str:
        """The ratios of both, as "0.80 of the FLOPs and 0.75 of the seconds"."""
        seconds = self.seconds(other)
        return f"{self.flops(other)} of the FLOPs" + (f" and {seconds} of the seconds" if seconds else "")

    def seconds(self, other: str) -> str:
        """The ratio of its seconds to those of another arm, with their marks; empty where it says nothing."""
        if {self.arm, other} & self.disturbed:
            return ""
        jobs = max(result.jobs for arm in (self.arm, other) for result in self.results[arm])
        return self._ratio(other, "seconds") + seconds_marks(jobs, self.machines)

    def difference(self, other: str) -> str:
        """The mean of the paired differences, and its interval where there are enough seeds for one."""
        differences = self._differences(other)
        # rounded first, so that no "-0.0 points" is printed
        points = f"{round(100 * mean(differences), 1) + 0.0:+.1f} points"
        if len(differences) < LEAST_SEEDS:
            return points
        low, high = interval(differences)
        return f"{points}, 95 % interval {100 * low:+.1f} to {100 * high:+.1f} over {len(differences)} seeds"

    def saving(self, other: str, name: str) -> str:
        """The difference from an arm of the same cost, which the text calls `name`, and what it supports."""
        differences = self._differences(other)
        head = f"{self.difference(other)}: "
        if mean(differences) <= 0:
            return f"{head}**no saving shown against {name}**."
        if len(differences) < LEAST_SEEDS:
            seeds = f"{len(differences)} seed{'s' * (len(differences) > 1)}"
            chance = f"cannot tell a saving from chance (at least {LEAST_SEEDS} are needed)"
            return f"{head}ahead, but {seeds} {chance}."
        if interval(differences)[0] > 0:
            return f"{head}**it saves against {name}**."
        return f"{head}ahead, but not beyond chance."

    def exceeds(self, other: str) -> bool | None:
        """Whether its accuracy is above that of another arm: by the interval; None: undecided.

        Where there are too few seeds for one, a mean that is not above zero is a no.
        """
        differences = self._differences(other)
        if len(differences) < LEAST_SEEDS:
            return None if mean(differences) > 0 else False
        low, high = interval(differences)
        return True if low > 0 else False if high < 0 else None

    def _ratio(self, other: str, quantity: str) -> str:
        sums = [sum(result.charged(quantity) for result in self.results[arm]) for arm in (self.arm, other)]
        return f"{sums[0] / sums[1]:.2f}"

    def _differences(self, other: str) -> list[float]:
        """Its accuracy minus that of another arm, a fraction a seed."""
        pairs = zip(self.results[self.arm], self.results[other], strict=True)
        return [self.judge.accuracy(own) - self.judge.accuracy(opposite) for own, opposite in pairs]


def interval(differences: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of paired differences, of which at least two are needed."""
    from scipy.stats import t

    n = len(differences)
    half = float(t.ppf((1 + confidence) / 2, n - 1)) * stdev(differences) / math.sqrt(n)
    return mean(differences) - half, mean(differences) + half


def seeds_interval(accuracies: Sequence[float]) -> tuple[float, float]:
    """Student's t interval over seeds of an accuracy, a fraction, without what is below 0 or above 1."""
    low, high = interval(accuracies)
    return max(low, 0.0), min(high, 1.0)
