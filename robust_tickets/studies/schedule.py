"""Study schedule: does the ticket end above dense on short schedules, and at equal cost?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from robust_tickets.recipe.schema import Count
from robust_tickets.studies.base import Cell, Comparison, Hypothesis, Study

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe

_ARMS = ("dense", "dense-short", "dense-equal-cost", "ticket")


def _cells(base: "Recipe", lengths: tuple[int, ...]) -> Iterator[Cell]:
    for epochs in lengths:
        train = replace(base.train, ticket_epochs=epochs)
        yield Cell(f"{epochs}", replace(base, train=train, compare=base.compare.with_arms(_ARMS)))


def _needs_epochs(base: "Recipe") -> str:
    used = "iterations" if base.train.iterations else "budget" if base.train.budget else ""
    return f"it is in epochs: use a recipe without train.{used}" if used else ""


def _hypotheses(settings: Sequence[str], arms: Sequence[str]) -> list[Hypothesis]:
    def hypothesis(text: str, arm: str) -> Hypothesis:
        comparisons = [
            Comparison(f"{_length(epochs)}, ticket minus {arm}", (epochs, "ticket"), (epochs, arm))
            for epochs in settings
        ]
        return Hypothesis(text, comparisons)

    return [
        hypothesis(
            "On the same schedule, the search not counted, the ticket ends above dense", "dense-short"
        ),
        hypothesis("At equal cost, the search counted, the ticket ends above dense", "dense-equal-cost"),
    ]


def _length(epochs: str) -> str:
    return f"{epochs} epoch{'s' * (epochs != '1')}"


STUDY = Study(
    name="schedule",
    question="does the ticket end above dense on the same short schedule, and at equal cost?",
    help="epochs of the short schedule, of the ticket and of dense-short",
    setting_type=Count,
    defaults=(20, 40, 60, 80, 100),
    cells=_cells,
    hypotheses=_hypotheses,
    figure="end",
    axis="epochs of the short schedule",
    varies="train.ticket_epochs",
    needs=(_needs_epochs,),
)
