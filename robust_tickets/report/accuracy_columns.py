"""The accuracies of the timing table: of each checkpoint under each attack, over seeds, with intervals."""

import math
from collections.abc import Sequence
from statistics import mean, stdev

from robust_tickets.evaluation.attack_sets import AA_PAIR, AA_WHOLE, PGD_BESIDE_AA, TABLE_ATTACKS
from robust_tickets.recipe.fields import CHECKPOINTS
from robust_tickets.report.judge import AVERAGE, Judge
from robust_tickets.report.read import ArmResult
from robust_tickets.report.verdict import LEAST_SEEDS, seeds_interval

EARLIER_COLUMNS = [
    f"{name}_{figure}" for name in (*TABLE_ATTACKS.values(), "pgd20_last") for figure in ("mean", "sd")
]
"""Columns in the middle of timing.csv: of the best epoch, and PGD-20 of the last."""

_LATER = {
    "clean_last": ("last", "clean"),
    "fgsm_last": ("last", "fgsm"),
    "clean_average": (AVERAGE, "clean"),
    "fgsm_average": (AVERAGE, "fgsm"),
    "pgd20_average": (AVERAGE, "pgd-20"),
}
_AA_FIGURES = ("mean", "sd", "low", "high", "added")

LATER_COLUMNS = [
    *(f"{name}_{figure}" for name in _LATER for figure in ("mean", "sd")),
    *(f"aa_{checkpoint}_{figure}" for checkpoint in CHECKPOINTS for figure in _AA_FIGURES),
    "aa_images",
    "pgd20_minus_aa",
    "judge",
    "robust_mean",
    "robust_vs_dense",
]
"""Columns at the end of timing.csv; robust_vs_dense is filled in beside the dense arm."""


def earlier_columns(seeds: Sequence[ArmResult]) -> list[float]:
    """The values of EARLIER_COLUMNS for one arm."""
    pairs = [("best", attack) for attack in TABLE_ATTACKS] + [("last", "pgd-20")]
    return [figure for checkpoint, attack in pairs for figure in _mean_and_sd(seeds, checkpoint, attack)]


def later_columns(seeds: Sequence[ArmResult], judge: Judge, images: int) -> list[object]:
    """The values of LATER_COLUMNS for one arm; images: those under AutoAttack, 0: it was not run."""
    values: list[object] = []
    for checkpoint, attack in _LATER.values():
        values += _mean_and_sd(seeds, checkpoint, attack)
    for checkpoint in CHECKPOINTS:
        values += autoattack_figures(seeds, checkpoint, images)
    pgd, pair = (accuracies(seeds, "last", attack) for attack in (PGD_BESIDE_AA, AA_PAIR))
    excess = mean(pgd) - mean(pair) if pgd and pair else math.nan
    robust = mean(judge.accuracy(result) for result in seeds)
    return [*values, images or math.nan, excess, judge.attack, robust, 0.0]


def autoattack_figures(seeds: Sequence[ArmResult], checkpoint: str, images: int) -> list[float]:
    """Mean, standard deviation and 95 % interval under AutoAttack, and what FAB-T and Square added to it.

    The whole of AutoAttack, where every seed has it; else its two members, and the last figure is NaN.
    All are NaN where AutoAttack was not run.
    """
    pair, whole = (accuracies(seeds, checkpoint, attack) for attack in (AA_PAIR, AA_WHOLE))
    values = whole or pair
    if not values:
        return [math.nan] * len(_AA_FIGURES)
    low, high = accuracy_interval(values, images)
    added = mean(whole) - mean(pair) if whole and pair else math.nan
    return [mean(values), _sd(values), low, high, added]


def accuracy_interval(accuracies: Sequence[float], images: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy, fractions.

    Of three seeds or more it is Student's t, over seeds on these images. Fewer say too little of other seeds:
    then it is Wilson's of their mean, over images like these.
    """
    if len(accuracies) < LEAST_SEEDS:
        return wilson(mean(accuracies), images)
    return seeds_interval(accuracies)


def wilson(accuracy: float, images: int) -> tuple[float, float]:
    """Wilson's 95 % interval of an accuracy on so many images, fractions."""
    from scipy.stats import binomtest  # over a second to import

    between = binomtest(round(accuracy * images), images).proportion_ci(method="wilson")
    return float(between.low), float(between.high)


def accuracies(seeds: Sequence[ArmResult], checkpoint: str, attack: str) -> list[float]:
    """The accuracy of each seed; none where a seed lacks it."""
    values = [result.accuracy.get((checkpoint, attack)) for result in seeds]
    return [] if None in values else [value for value in values if value is not None]


def _mean_and_sd(seeds: Sequence[ArmResult], checkpoint: str, attack: str) -> list[float]:
    values = accuracies(seeds, checkpoint, attack)
    return [mean(values), _sd(values)] if values else [math.nan, math.nan]


def _sd(values: Sequence[float]) -> float:
    """The sample's standard deviation; NaN with one seed."""
    return stdev(values) if len(values) > 1 else math.nan
