"""What a search costs beside the trainings that use it: its share, and when it has paid for itself."""

import math
from collections.abc import Sequence
from statistics import mean

from robust_tickets.recipe.arm_training import training_of
from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.chance import arms_at_chance
from robust_tickets.report.judge import judge
from robust_tickets.report.read import ArmResult
from robust_tickets.report.verdict import ArmFigures, Results

SHARES = (90, 95, 99)
"""Per cent of dense's best validation accuracy that the cost to is given for."""

QUANTITIES = ("flops", "seconds")
REUSE_COLUMNS = [
    "search_share",
    *(f"break_even_{quantity}" for quantity in QUANTITIES),
    *(f"{quantity}_to_{share}" for quantity in QUANTITIES for share in SHARES),
]
"""Columns of timing.csv on what is paid once, and on how soon dense's accuracy is reached."""


def reuse_columns(seeds: Sequence[ArmResult], dense: Sequence[ArmResult], kind: str) -> list[float]:
    """The values of REUSE_COLUMNS for one arm; dense: of the same seeds; kind: which accuracy chooses epochs.

    search_share: of the arm's FLOPs, search or first stage included. break_even_*: see `break_even`, against
    dense; NaN where nothing is searched. *_to_*: cost from the beginning of the search to the first
    validation that reaches so many per cent of the best one of dense, a mean over seeds; NaN where a seed
    never does.
    """
    before = mean(result.before["charged_flops"] if result.before else 0.0 for result in seeds)
    total = mean(result.charged("flops") for result in seeds)
    paid = [break_even(seeds, dense, quantity) for quantity in QUANTITIES]
    costs = [
        _cost_to(seeds, dense, kind, share / 100, quantity) for quantity in QUANTITIES for share in SHARES
    ]
    return [before / total if total else 0.0, *paid, *costs]


def break_even(seeds: Sequence[ArmResult], other: Sequence[ArmResult], quantity: str) -> float:
    """After how many trainings that reuse its search an arm has cost no more than as many of another arm.

    The smallest n with search + n * training <= n * other, of means over seeds; infinity: there is none; NaN:
    the arm has no search.
    """
    if not all(result.before for result in seeds):
        return math.nan
    key = f"charged_{quantity}"
    search = mean(result.before[key] if result.before else 0.0 for result in seeds)
    training = mean(result.ledger[key] for result in seeds)
    saved = mean(result.charged(quantity) for result in other) - training
    return trainings_to_pay(search, saved)


def trainings_to_pay(once: float, saved: float) -> float:
    """How many trainings, each of which saves so much, pay for a cost that is there once; or infinity."""
    return float(max(1, math.ceil(once / saved - 1e-9))) if saved > 0 else math.inf


def _cost_to(
    seeds: Sequence[ArmResult], dense: Sequence[ArmResult], kind: str, share: float, quantity: str
) -> float:
    costs = []
    for own, baseline in zip(seeds, dense, strict=True):
        best = max(record[f"val_{kind}"] for record in baseline.curve)
        goal = share * best if best else math.inf  # nothing comes near an accuracy of 0
        before = own.before[f"charged_{quantity}"] if own.before else 0.0
        reached = (cost for cost, record in _costs(own, quantity) if record[f"val_{kind}"] >= goal)
        costs.append(before + next(reached, math.nan))
    return mean(costs)


def _costs(result: ArmResult, quantity: str) -> list[tuple[float, dict[str, float]]]:
    """The validations of an arm with its own cost until then; seconds are known at ends of epochs alone."""
    if quantity == "flops":
        return [(record["flops"], record) for record in result.curve]
    seconds = result.ledger.get("epoch_seconds", [])
    return list(zip(seconds, result.history, strict=False))


def reuse_note(results: Results, recipe: Recipe) -> str:
    """When the search of a ticket has paid for itself, against each baseline; empty without a ticket."""
    texts = []
    own_judge = judge(results, recipe)
    # natural training is not for robustness
    natural = recipe.evaluate.select_by == "clean"
    at_chance = [] if natural else arms_at_chance(results, own_judge, recipe)
    for arm, seeds in results.items():
        if ARMS[arm].network != "ticket" or ARMS[arm].transform or not all(r.before for r in seeds):
            continue
        if arm in at_chance:  # it cannot pay for itself, and `chance.chance_note` says so
            continue
        figures = ArmFigures(arm, results, judge=own_judge, recipe=recipe)
        share, *_ = reuse_columns(seeds, results["dense"], recipe.evaluate.select_by)
        variant = arm.partition("+")[2]
        others = ["dense", "dense-short", *([f"dense+{variant}"] if variant else [])]
        parts = []
        images = training_of(recipe, arm).images
        others = [name for name in others if name in results and training_of(recipe, name).images == images]
        for other in others:
            number = break_even(seeds, results[other], "flops")
            when = "never" if math.isinf(number) else f"after {number:.0f} training{'s' * (number != 1)}"
            parts.append(f"{when} against `{other}` ({figures.difference(other)})")
        if not parts:  # a training on other images costs less or more for that alone
            continue
        texts.append(
            f"The search of `{arm}` is {100 * share:.0f} % of its FLOPs. Reused, it has paid for itself "
            f"{', and '.join(parts)}."
        )
        if "never" in texts[-1]:
            texts.append("Never: that arm costs no more than a training from the ticket.")
    return " ".join(texts)
