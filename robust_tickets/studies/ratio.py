"""Study ratio: at which sparsity do tickets have an early advantage over dense?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from robust_tickets.recipe.pruning_methods import make_pruning_method
from robust_tickets.recipe.schema import Share
from robust_tickets.studies.base import Cell, Comparison, Hypothesis, Study
from robust_tickets.studies.cells import TICKET_AND_REINIT, dense_arm, with_dense

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe

_PLATEAU = (0.5, 0.9)
"""Shares pruned between which Li et al. 2020 (section 3.3) see boosting tickets."""


def _cells(base: "Recipe", ratios: tuple[float, ...]) -> Iterator[Cell]:
    """The share that is pruned in the end, whatever the rounds."""
    search = base.search
    # random places with a new init are the ticket of another seed
    arms = TICKET_AND_REINIT if make_pruning_method(search).uses_data else TICKET_AND_REINIT[:1]
    for ratio in ratios:
        share = ratio if search.rounds == 1 else 1 - (1 - ratio) ** (1 / search.rounds)
        recipe = replace(base, search=replace(search, ratio=share))
        yield Cell(f"{ratio:g}", with_dense(recipe, arms))


def _needs_one_ratio(base: "Recipe") -> str:
    if base.search.fc_ratio is None and base.search.output_ratio is None:
        return ""
    return "it varies one share for all layers: use a recipe without search.fc_ratio and search.output_ratio"


def _hypotheses(settings: Sequence[str], arms: Sequence[str]) -> list[Hypothesis]:
    """Of the settings within the plateau, or else of all."""
    plateau = [ratio for ratio in settings if _PLATEAU[0] <= float(ratio) <= _PLATEAU[1]] or settings
    dense = dense_arm(arms)
    percent = {ratio: f"{100 * float(ratio):g}" for ratio in plateau}
    comparisons = [
        Comparison(f"{percent[ratio]} % pruned, ticket minus {dense}", (ratio, "ticket"), (ratio, dense))
        for ratio in plateau
    ]
    shares = " and ".join(percent.values())
    return [Hypothesis(f"Tickets have an early advantage over dense at {shares} % pruned", comparisons)]


STUDY = Study(
    name="ratio",
    question="at which sparsity do tickets have an early advantage over dense?",
    help="shares of the weights (or channels) that are gone in the end, whatever the rounds",
    setting_type=Share,
    defaults=(0.32, 0.56, 0.73, 0.8, 0.87, 0.92, 0.98),
    cells=_cells,
    hypotheses=_hypotheses,
    figure="early",
    axis="share pruned",
    varies="search.ratio",
    needs=(_needs_one_ratio,),
)
