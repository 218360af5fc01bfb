"""Study lr: which learning rate of the search finds the ticket that converges faster?"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from robust_tickets.recipe.schema import Positive
from robust_tickets.studies.base import Cell, Comparison, Hypothesis, Study
from robust_tickets.studies.cells import needs_training, smallest_and_largest, with_search

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe


def _cells(base: "Recipe", rates: tuple[float, ...]) -> Iterator[Cell]:
    for rate in rates:
        yield Cell(f"{rate:g}", with_search(base, lr=rate))


def _hypotheses(settings: Sequence[str], arms: Sequence[str]) -> list[Hypothesis]:
    low, high = smallest_and_largest(settings)
    label = f"ticket of search lr {low} minus that of {high}"
    text = f"A search at the learning rate {low} finds a ticket that converges faster than one at {high}"
    return [Hypothesis(text, [Comparison(label, (low, "ticket"), (high, "ticket"))])]


STUDY = Study(
    name="lr",
    question="does a small learning rate in the search find the ticket that converges faster?",
    help="learning rates of the search",
    setting_type=Positive,
    defaults=(0.005, 0.01, 0.05, 0.1),
    cells=_cells,
    hypotheses=_hypotheses,
    figure="early",
    axis="learning rate of the search",
    varies="search.lr",
    least_settings=2,
    needs=(needs_training,),
)
