"""The timing table: what each arm cost, and how accurate it is."""

import math
from collections.abc import Callable

import pandas as pd

from robust_tickets.recipe.arm_training import arm_training
from robust_tickets.recipe.methods import WRAPPERS
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.accuracy_columns import (
    EARLIER_COLUMNS,
    LATER_COLUMNS,
    earlier_columns,
    later_columns,
)
from robust_tickets.report.chance import arms_at_chance
from robust_tickets.report.conditions import CONDITIONS_COLUMNS, conditions
from robust_tickets.report.judge import judge
from robust_tickets.report.read import ArmResult, results
from robust_tickets.report.reuse import QUANTITIES, REUSE_COLUMNS, reuse_columns
from robust_tickets.runs.directory import RunDirectory

COLUMNS = [
    "arm",
    "seeds",
    "epochs",
    "density",
    "params",
    *EARLIER_COLUMNS,
    "search_s",
    "train_s",
    "total_s",
    "total_passes",
    "total_flops",
    "flops_vs_dense",
    "seconds_vs_dense",
    "pgd20_vs_dense",
    "channels_removed",
    "pass_flops_vs_dense",
    "pass_seconds_vs_dense",
    "jobs",
    "machines",
    *LATER_COLUMNS,
    *REUSE_COLUMNS,
    *CONDITIONS_COLUMNS,
]
"""Columns of timing.csv; new ones are added at the end, none is renamed."""


def timing(run: RunDirectory) -> pd.DataFrame:
    """The timing table, a row an arm.

    Accuracies are fractions of the test images, means over seeds, of the last epoch, of the best (the one
    that validation chose) or of the averaged weights; clean, fgsm and pgd20 without such a word are of the
    best.
    `sd` is the sample standard deviation, empty with one seed; for `low`, `high` and `added` see
    `accuracy_columns.autoattack_figures`. robust_mean is what `judge` says of the last epoch: PGD-20, or as
    much of AutoAttack as all rows have; robust_vs_dense and pgd20_vs_dense are differences of fractions.
    Seconds are those charged to the arm, without reading data and validating; search_s are those of the
    search or first stage before it. flops_vs_dense and seconds_vs_dense are ratios. channels_removed counts
    the channels that were pruned whole and left out in training; pass_flops_vs_dense and
    pass_seconds_vs_dense are the ratios of what a sample costs in training, the seconds empty for an arm
    whose training has other passes than dense's. jobs is how many ran at a time, at most, while the arm's
    seconds were taken; machines is on how many the run was computed. For
    break-even, empty for an arm at chance, and the cost to come near dense see `reuse.reuse_columns`.
    other_cores went to other programs while the arm's seconds were taken, slowdown is by how much the
    machine was slower than at its fastest in the run, and disturbed says that either was too much
    (`conditions.conditions`).
    """
    by_arm = results(run)
    own_judge, images = judge(by_arm, run.recipe), run.recipe.evaluate.aa_images
    kind = run.recipe.evaluate.select_by
    found = conditions(by_arm)
    rows = [
        [
            *_row(arm, seeds),
            *later_columns(seeds, own_judge, images),
            *reuse_columns(seeds, by_arm["dense"], kind),
            *(found[arm].others, found[arm].slowdown, found[arm].disturbed),
        ]
        for arm, seeds in by_arm.items()
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    dense = table[table.arm == "dense"].iloc[0]
    table["flops_vs_dense"] = table.total_flops / dense.total_flops
    table["seconds_vs_dense"] = table.total_s / dense.total_s
    table["pgd20_vs_dense"] = table.pgd20_mean - dense.pgd20_mean
    table["robust_vs_dense"] = table.robust_mean - dense.robust_mean
    for column in ("pass_flops_vs_dense", "pass_seconds_vs_dense"):
        table[column] /= dense[column]
    other = [not _has_passes_of_dense(run.recipe, arm) for arm in table.arm]
    table.loc[other, "pass_seconds_vs_dense"] = math.nan
    table["machines"] = len(run.machines())
    if kind == "robust":  # what is at chance has paid for nothing
        at_chance = table.arm.isin(arms_at_chance(by_arm, own_judge, run.recipe))
        table.loc[at_chance, [f"break_even_{quantity}" for quantity in QUANTITIES]] = math.nan
    return table


def _row(arm: str, seeds: list[ArmResult]) -> list[object]:
    """The values of COLUMNS for one arm up to LATER_COLUMNS; those against dense are filled in later."""

    def average(value: Callable[[ArmResult], float]) -> float:
        return sum(map(value, seeds)) / len(seeds)

    search = average(lambda r: r.before["charged_seconds"] if r.before else 0.0)
    train = average(lambda r: r.ledger["charged_seconds"])
    passes = average(lambda r: r.ledger["charged_passes"]) or 1  # none where nothing is trained
    return [
        arm,
        len(seeds),
        average(lambda r: r.about["epochs"]),  # seeds may differ where a search ends early
        seeds[0].about["density"],
        round(average(lambda r: r.about["params"])),
        *earlier_columns(seeds),
        search,
        train,
        search + train,
        round(average(lambda r: r.charged("passes"))),
        round(average(lambda r: r.charged("flops"))),
        *(0.0, 0.0, 0.0),
        average(lambda r: r.about["channels_removed"]),
        average(lambda r: r.ledger["charged_flops"]) / passes,
        train / passes,
        max(result.jobs for result in seeds),
        1,
    ]


def _has_passes_of_dense(recipe: Recipe, arm: str) -> bool:
    """Whether an arm's training has dense's shares of forward and backward passes, whose seconds differ."""
    own, dense = arm_training(recipe, arm), arm_training(recipe, "dense")
    return all(
        getattr(own, name, None) == getattr(dense, name, None) for name in ("method", own.method, *WRAPPERS)
    )
