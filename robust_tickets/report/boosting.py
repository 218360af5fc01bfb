"""The early advantage of a ticket: how much sooner than dense an arm reaches an accuracy.

Early advantage: how much higher an arm's validation curve lies in the first epochs (`early_...`).
Boosting, as Li et al. 2020 have it: how much less than dense an arm costs up to an accuracy (`boosting_...`).
"""

import math
from itertools import pairwise
from typing import Any, Literal

import pandas as pd

from robust_tickets.evaluation.attack_sets import AA_PAIR
from robust_tickets.recipe.fields import Evaluate
from robust_tickets.report.judge import TITLES
from robust_tickets.report.read import ArmResult, results
from robust_tickets.runs.directory import RunDirectory

TARGETS = (80, 90, 95, 100)
"""Percent of the dense arm's best validation accuracy that arms are timed to."""

FIGURES = (
    *(f"{figure}_{kind}" for kind in ("clean", "robust") for figure in ("epoch1", "early", "best")),
    *("early_stop_step", "early_stop_clean"),
    *(f"test_{attack}{last}" for attack in ("clean", "pgd20") for last in ("", "_last")),
    *("epochs", "density", "passes", "flops", "search_flops"),
    *(
        column.format(percent)
        for percent in TARGETS
        for column in ("passes_to_{}", "flops_to_{}", "boosting_{}", "boosting_{}_with_search")
    ),
)
"""The figures of an arm and seed."""

Curve = list[dict[str, Any]]

Checkpoint = Literal["last", "best"]


def boosting(run: RunDirectory) -> pd.DataFrame:
    """A row an arm and seed. Raises InputError if no seed is complete.

    Accuracies are fractions of the validation images, or of the test images in columns that begin with test_;
    those of the last epoch end with _last, the others are of the best; test_aa is there where a recipe asks
    for AutoAttack, under its two APGD attacks. `passes_to_x` and `flops_to_x`: the
    cost of the arm's own training at the first validation with x % of dense's best validation accuracy
    (robust or clean, as the recipe chooses epochs); NaN where there is none. `boosting_x`: dense's FLOPs over
    the arm's to there; `boosting_x_with_search`: with the search added to the arm's.
    """
    arms = results(run)
    rows = []
    for arm, seeds in arms.items():
        for result, dense in zip(seeds, arms["dense"], strict=True):
            rows.append({"arm": arm, "seed": result.seed, **measured(result, dense, run.recipe.evaluate)})
    return pd.DataFrame(rows)


def measured(result: ArmResult, dense: ArmResult, evaluate: Evaluate) -> dict[str, float]:
    """The figures of one arm of a seed, beside the dense arm of the same seed; see `boosting`."""
    metric, span = evaluate.select_by, evaluate.early_epochs or 1
    curve = result.curve
    search = result.before["charged_flops"] if result.before else 0
    row: dict[str, float] = {}
    for kind in ("clean", "robust"):
        row[f"epoch1_{kind}"] = next((p[f"val_{kind}"] for p in curve if p["epoch"] == 1), math.nan)
        row[f"early_{kind}"] = early_area(curve, f"val_{kind}", span)
        row[f"best_{kind}"] = max(record[f"val_{kind}"] for record in result.history)
    step, clean = early_stop(curve)
    row |= {"early_stop_step": step, "early_stop_clean": clean}
    for attack in ("clean", "pgd-20"):
        name = attack.replace("-", "")
        row[f"test_{name}"] = result.accuracy["best", attack]
        row[f"test_{name}_last"] = result.accuracy["last", attack]
    for column, checkpoint in aa_columns(evaluate).items():
        row[column] = result.accuracy[checkpoint, AA_PAIR]
    row |= {
        "epochs": result.about["epochs"],
        "density": result.about["density"],
        "passes": result.ledger["charged_passes"],
        "flops": result.ledger["charged_flops"],
        "search_flops": search,
    }
    best = max(record[f"val_{metric}"] for record in dense.history)
    dense_curve = dense.curve
    for percent in TARGETS:
        target = best * percent / 100 if best else math.inf  # nothing comes near an accuracy of 0
        passes, flops = math.nan, math.nan
        if result.about["epochs"]:  # of an arm that is not trained, there is nothing to reach
            passes, flops = cost_to(curve, f"val_{metric}", target)
        _, dense_flops = cost_to(dense_curve, f"val_{metric}", target)
        row |= {f"passes_to_{percent}": passes, f"flops_to_{percent}": flops}
        row[f"boosting_{percent}"] = _ratio(dense_flops, flops)
        row[f"boosting_{percent}_with_search"] = _ratio(dense_flops, flops + search)
    return row


def aa_columns(evaluate: Evaluate) -> dict[str, Checkpoint]:
    """The columns of accuracy under AutoAttack's two APGD attacks, with the checkpoints that they judge."""
    columns: dict[str, Checkpoint] = {"test_aa": "best", "test_aa_last": "last"}
    judged = evaluate.aa_checkpoints if evaluate.aa_images else ()
    return {column: checkpoint for column, checkpoint in columns.items() if checkpoint in judged}


def end_columns(evaluate: Evaluate) -> dict[Checkpoint, str]:
    """The columns of the accuracy on test images that decides, by checkpoint: the last epoch, then the best.

    Under AutoAttack's two APGD attacks where these judge the last epoch, else under PGD-20; clean where clean
    accuracy selects.
    """
    if evaluate.select_by == "clean":
        return {"last": "test_clean_last", "best": "test_clean"}
    judged = {checkpoint: column for column, checkpoint in aa_columns(evaluate).items()}
    if judged:
        return {name: judged[name] for name in ("last", "best") if name in judged}
    return {"last": "test_pgd20_last", "best": "test_pgd20"}


def first_end(evaluate: Evaluate) -> tuple[Checkpoint, str]:
    """The first of `end_columns`: of the last epoch, unless AutoAttack judges the best one alone."""
    return next(iter(end_columns(evaluate).items()))


def end_title(evaluate: Evaluate) -> str:
    """What the accuracies of `end_columns` are under, in words."""
    if evaluate.select_by == "clean":
        return "clean"
    return TITLES[AA_PAIR] if aa_columns(evaluate) else TITLES["pgd-20"]


def early_area(curve: Curve, key: str, span: int) -> float:
    """Mean height of the curve over its first `span` epochs: the area under it by the trapezoid rule, over
    the span. NaN where the curve does not reach from the untrained network to there.
    """
    part = [p for p in curve if p["epoch"] <= span]
    if len(part) < 2 or part[0]["epoch"] != 0 or part[-1]["epoch"] != span:
        return math.nan
    area = sum((b["epoch"] - a["epoch"]) * (a[key] + b[key]) / 2 for a, b in pairwise(part))
    return float(area / span)


def cost_to(curve: Curve, key: str, target: float) -> tuple[float, float]:
    """Passes and FLOPs at the first validation that reaches the target; NaN where none does."""
    for point in curve:
        if point[key] >= target:
            return float(point["passes"]), float(point["flops"])
    return math.nan, math.nan


def early_stop(curve: Curve) -> tuple[float, float]:
    """The step of the lowest clean validation loss, the first of equal ones, and the clean accuracy there.

    NaN where a run has no validation losses. The early-stop iteration of Frankle & Carbin 2019, section 2.
    """
    if any(point["val_loss"] is None for point in curve):
        return math.nan, math.nan
    lowest = min(curve, key=lambda point: float(point["val_loss"]))
    return float(lowest["step"]), float(lowest["val_clean"])


def _ratio(dense: float, arm: float) -> float:
    """NaN where one is never there; infinite where the untrained arm is there already."""
    if math.isnan(dense) or math.isnan(arm):
        return math.nan
    if arm == 0:
        return math.inf if dense > 0 else 1.0
    return dense / arm
