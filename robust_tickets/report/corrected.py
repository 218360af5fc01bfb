"""Contrasts of one experiment, whose p-values are corrected together for how many they are (Holm 1979)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from robust_tickets.recipe.contrasts import Question
from robust_tickets.report.claims import MARGIN, points
from robust_tickets.report.verdict import LEAST_SEEDS, interval

LEVEL = 0.05
"""A contrast is shown where its corrected p-value is smaller."""


@dataclass(frozen=True)
class Tested:
    """A contrast of an experiment, with what came of it.

    label: names the two arms, the second of which is subtracted from the first.
    question: what was asked of the mean difference, before the first run.
    differences: one a seed, fractions.
    p_value: of Student's t over paired seeds, one-sided for "not worse"; 1.0 for fewer than three seeds.
    corrected: the p-value by Holm's step-down method over all contrasts of the experiment.
    """

    label: str
    question: Question
    differences: tuple[float, ...]
    p_value: float
    corrected: float

    @property
    def is_shown(self) -> bool:
        """Whether the answer is yes at `LEVEL`; else it is undecided."""
        return self.corrected < LEVEL

    def __str__(self) -> str:
        """The mean difference in points with its 95 % interval, p-values and the verdict."""
        text = f"{self.label}: {points(mean(self.differences))} points"
        if len(self.differences) < LEAST_SEEDS:
            return f"{text}: undecided, as a verdict needs {LEAST_SEEDS} seeds"
        low, high = interval(self.differences)
        text += (
            f" (95 % interval {points(low)} to {points(high)}), p {_rounded(self.p_value)}, corrected "
            f"{_rounded(self.corrected)}"
        )
        if self.question == "not worse":
            margin = f"{100 * MARGIN:g} point{'s' * (MARGIN != 0.01)}"
            if self.is_shown:
                return f"{text}: shown to be less than {margin} worse"
            fact = f", and the interval says it is more than {margin} worse" if high < -MARGIN else ""
            return f"{text}: not shown to be less than {margin} worse{fact}"
        if not self.is_shown:
            return f"{text}: undecided"
        return f"{text}: shown to be {'more' if mean(self.differences) > 0 else 'less'}"


def judge(contrasts: Sequence[tuple[str, Question, Sequence[float]]]) -> list[Tested]:
    """Test the contrasts of an experiment together.

    contrasts: all of them, in the order of the experiment: label, question and differences, fractions.
    """
    p_values = [p_value(differences, question) for _, question, differences in contrasts]
    return [
        Tested(label, question, tuple(differences), p, corrected)
        for (label, question, differences), p, corrected in zip(
            contrasts, p_values, holm(p_values), strict=True
        )
    ]


def p_value(differences: Sequence[float], question: Question = "different") -> float:
    """The p-value of Student's t over paired differences; 1.0 for fewer than three.

    different: two-sided, against a mean of zero. not worse: one-sided, against one of minus `MARGIN`.
    """
    from scipy.stats import t

    n, bound = len(differences), -MARGIN if question == "not worse" else 0.0
    if n < LEAST_SEEDS:
        return 1.0
    distance, spread = mean(differences) - bound, stdev(differences)
    if spread == 0:
        statistic = math.copysign(math.inf, distance) if distance else 0.0
    else:
        statistic = distance / (spread / math.sqrt(n))
    if question == "not worse":
        return float(t.sf(statistic, n - 1))
    return float(2 * t.sf(abs(statistic), n - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected by Holm's step-down method, in their order.

    The smallest of n is multiplied by n, the next by n - 1 and so on; none is below one before it or above 1.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _rounded(p: float) -> str:
    return "below 0.001" if p < 0.001 else f"{p:.3f}"
