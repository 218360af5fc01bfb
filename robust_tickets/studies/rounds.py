"""Study rounds: do the rounds of the search matter at equal density?"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from robust_tickets.recipe.schema import Count
from robust_tickets.studies.base import Cell, Comparison, Hypothesis, Study
from robust_tickets.studies.cells import needs_training, with_search

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe


def _cells(base: "Recipe", numbers: tuple[int, ...]) -> Iterator[Cell]:
    """So many rounds, each with the ratios that leave the densities of the base's own rounds in the end."""
    search = base.search
    for rounds in numbers:
        fields: dict[str, Any] = {"rounds": rounds}
        for field in ("ratio", "fc_ratio", "output_ratio"):
            share = getattr(search, field)
            if share is not None and rounds != search.rounds:
                fields[field] = 1 - (1 - share) ** (search.rounds / rounds)
        yield Cell(f"{rounds}", with_search(base, **fields))


def _hypotheses(settings: Sequence[str], arms: Sequence[str]) -> list[Hypothesis]:
    fewest, *others = sorted(settings, key=float)
    comparisons = [
        Comparison(f"ticket of {other} rounds minus that of {fewest}", (other, "ticket"), (fewest, "ticket"))
        for other in others
    ]
    text = "Rounds make no difference at equal density"
    return [Hypothesis(text, comparisons, "same")]


STUDY = Study(
    name="rounds",
    question="do the rounds of the search make no difference at equal density?",
    help="rounds of the search, at the density that the recipe's own rounds end with",
    setting_type=Count,
    defaults=(1, 2, 4),
    cells=_cells,
    hypotheses=_hypotheses,
    figure="early",
    axis="rounds of the search",
    varies="search.rounds",
    least_settings=2,
    needs=(needs_training,),
)
