"""Study reuse: does a ticket pay that several trainings start from?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.methods import make_method
from robust_tickets.studies.base import Cell, Comparison, Hypothesis, Study
from robust_tickets.studies.cells import dense_arm, needs_data, trainings_that_pay, with_dense
from robust_tickets.studies.changes import changed

if TYPE_CHECKING:
    import pandas as pd

    from robust_tickets.recipe.fields import Evaluate
    from robust_tickets.recipe.recipe import Recipe

OWN = "own"
"""The setting that changes nothing: the recipe's training, on other batches than those of the search."""

_ARMS = ("dense-amortised", "ticket", "random")


def _cells(base: "Recipe", changes: tuple[str, ...]) -> Iterator[Cell]:
    """Each training from the ticket of the base's search, beside dense ones and random masks.

    Raises InputError where the schedule of the ticket is as long as dense's in some of the trainings alone.
    """
    recipes = [base if change == OWN else _other_training(base, change) for change in changes]
    if len({recipe.train.lengths_are_equal for recipe in recipes}) > 1:
        raise InputError(
            "the schedule of the ticket is as long as dense's in some trainings of study.reuse and not in "
            "others, so that they have other controls: run these in a study of their own"
        )
    reuses = max(2, len(changes))  # a single training is refused as such
    for change, recipe in zip(changes, recipes, strict=True):
        recipe = with_dense(recipe, _ARMS)
        yield Cell(change, replace(recipe, compare=replace(recipe.compare, reuses=reuses)))


def _other_training(base: "Recipe", change: str) -> "Recipe":
    """The recipe with other fields of its training or another radius, and the search that the base has.

    Raises InputError for a text that changes anything else, or nothing.
    """
    name = f"study.reuse {change!r}"
    recipe = changed(base, change.split(), ("train", "threat.eps"), name)
    if recipe.identity == base.identity:
        raise InputError(f"{name} changes nothing: call it {OWN}")
    if recipe.threat == base.threat or base.search.eps is not None or not make_method(base.search).attacks:
        return recipe
    return replace(recipe, search=replace(recipe.search, eps=base.threat.eps))


def _needs_known_cost(base: "Recipe") -> str:
    """The reason against searches that have no random mask beside them, or whose cost is not known before."""
    if base.search.granularity != "weight":
        return "its random masks are of single weights: use a recipe with search.granularity weight"
    if base.search.stop_distance:
        return "dense is trained for a share of the whole search: leave search.stop_distance out"
    return ""


def _others(arms: Sequence[str]) -> dict[str, str]:
    """What the ticket is compared with, and what is claimed."""
    return {
        dense_arm(arms): "A ticket that is reused ends above dense on its schedule",
        "dense-amortised": "It ends above dense that is trained for the ticket's share of the search too",
        "random": "It ends above a random mask of its layer densities",
    }


def _hypotheses(settings: Sequence[str], arms: Sequence[str]) -> list[Hypothesis]:
    return [
        Hypothesis(
            text,
            [
                Comparison(f"{change}, ticket minus {other}", (change, "ticket"), (change, other))
                for change in settings
            ],
        )
        for other, text in _others(arms).items()
    ]


def _remark(rows: "pd.DataFrame", evaluate: "Evaluate") -> str:
    """The mean over the trainings, tested together, and how many of each pay for the search."""
    from robust_tickets.report.boosting import first_end
    from robust_tickets.report.claims import points
    from robust_tickets.report.corrected import judge

    checkpoint, column = first_end(evaluate)
    complete = rows.groupby("seed").setting.nunique() == rows.setting.nunique()
    means = rows[rows.seed.map(complete)].pivot_table(column, "seed", "arm")
    tested = judge(
        [
            (f"ticket minus {arm}", "different", list(means.ticket - means[arm]))
            for arm in _others(list(means))
        ]
    )
    figures = rows.groupby(["setting", "arm"], sort=False)[["flops", "search_flops", column]].mean()
    paid = []
    for setting in rows.setting.drop_duplicates():
        dense, ticket = figures.loc[setting, "dense"], figures.loc[setting, "ticket"]
        number = trainings_that_pay(ticket.search_flops, dense.flops - ticket.flops)
        paid.append(f"{setting}: {number} ({points(ticket[column] - dense[column])} points against dense)")
    return (
        f"Over all trainings, by the mean of each seed ({checkpoint} epoch), p-values corrected for "
        f"{len(tested)} (Holm): {'; '.join(map(str, tested))}. This answers the question of the study; the "
        "lines on single trainings are not corrected for how many they are.\n\n"
        "How many trainings of a kind pay for the search, by the FLOPs that each saves against dense (no "
        f"number where the ticket's schedule is as long): {'; '.join(paid)}."
    )


STUDY = Study(
    name="reuse",
    question="does a ticket pay that several trainings start from?",
    help="trainings that start from the ticket: own (the recipe's), or changes of train and threat.eps, with "
    "spaces between",
    setting_type=str,
    defaults=(OWN, "train.method=trades", "threat.eps=4/255"),
    cells=_cells,
    hypotheses=_hypotheses,
    figure="end",
    axis="training that starts from the ticket",
    metavar="TRAINING...",
    least_settings=2,
    needs=(needs_data, _needs_known_cost),
    remark=_remark,
)
