"""Study search-length: does a longer search find the ticket that converges faster?"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from robust_tickets.recipe.schema import Count
from robust_tickets.studies.base import Cell, Comparison, Hypothesis, Study
from robust_tickets.studies.cells import needs_training, smallest_and_largest, with_search

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe


def _cells(base: "Recipe", lengths: tuple[int, ...]) -> Iterator[Cell]:
    for epochs in lengths:
        yield Cell(f"{epochs}", with_search(base, epochs=epochs))


def _needs_epochs(base: "Recipe") -> str:
    return "it is in epochs: use a recipe without search.iterations" if base.search.iterations else ""


def _hypotheses(settings: Sequence[str], arms: Sequence[str]) -> list[Hypothesis]:
    low, high = smallest_and_largest(settings)
    label = f"ticket of a search of {high} epochs minus that of {low}"
    text = f"A search of {high} epochs finds a ticket that converges faster than one of {low}"
    return [Hypothesis(text, [Comparison(label, (high, "ticket"), (low, "ticket"))])]


STUDY = Study(
    name="search-length",
    question="does a longer search find the ticket that converges faster?",
    help="epochs of the search's rounds",
    setting_type=Count,
    defaults=(1, 20, 40, 60, 100),
    cells=_cells,
    hypotheses=_hypotheses,
    figure="early",
    axis="epochs of a search round",
    varies="search.epochs",
    least_settings=2,
    needs=(needs_training, _needs_epochs),
)
