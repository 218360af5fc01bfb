"""Study mask-source: do adversarial searches find tickets that converge faster than a natural one?"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from robust_tickets.recipe.methods import METHODS
from robust_tickets.recipe.schema import OneOf
from robust_tickets.studies.base import Cell, Comparison, Hypothesis, Study
from robust_tickets.studies.cells import needs_data, with_search

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe


def _cells(base: "Recipe", methods: tuple[str, ...]) -> Iterator[Cell]:
    for method in methods:
        yield Cell(method, with_search(base, method=method))


def _hypotheses(settings: Sequence[str], arms: Sequence[str]) -> list[Hypothesis]:
    first, *others = settings
    comparisons = [
        Comparison(
            f"ticket of a search by {other} minus that by {first}", (other, "ticket"), (first, "ticket")
        )
        for other in others
    ]
    return [
        Hypothesis(f"Tickets found by {' and '.join(others)} converge faster than by {first}", comparisons)
    ]


STUDY = Study(
    name="mask-source",
    question="do adversarial searches find tickets that converge faster than those of a natural one?",
    help="training methods of the search",
    setting_type=Annotated[str, OneOf(lambda: METHODS)],
    defaults=("natural", "fgsm", "pgd"),
    cells=_cells,
    hypotheses=_hypotheses,
    figure="early",
    axis="training method of the search",
    varies="search.method",
    metavar="METHOD...",
    least_settings=2,
    needs=(needs_data,),
)
