"""Study strong: is a sub-network of random weights as good as a trained one? (Ramanujan et al. 2019)"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from robust_tickets.recipe.schema import Share
from robust_tickets.studies.base import Cell, Comparison, Hypothesis, Source, Study
from robust_tickets.studies.cells import dense_arm, needs_training, with_dense, with_pruning_method

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe


def _cells(base: "Recipe", shares: tuple[float, ...]) -> Iterator[Cell]:
    """The share of the weights that is kept, by the recipe's search and by edge-popup."""
    for share in shares:
        search = replace(base.search, ratio=1 - share ** (1 / base.search.rounds))
        popup = with_pruning_method(base, "edge_popup")
        popup = replace(
            popup,
            model=replace(base.model, init="signed-constant"),
            search=replace(popup.search, ratio=1 - share),
        )
        sources = [Source(arm, popup) for arm in ("strong-untrained", "strong-shuffled", "strong-trained")]
        recipe = with_dense(replace(base, search=search), ("ticket", "random"))
        yield Cell(f"{share:g}", recipe, tuple(sources))


def _needs_trained_weights(base: "Recipe") -> str:
    if base.search.pruning_method != "edge_popup":
        return ""
    return "it sets edge_popup beside the recipe's own search: choose search.pruning_method imp or hydra"


def _needs_single_weights(base: "Recipe") -> str:
    search = base.search
    if search.granularity == "weight" and search.fc_ratio is search.output_ratio is None:
        return ""
    return (
        "it keeps one share of the single weights of all layers: use a recipe of search.granularity weight, "
        "without search.fc_ratio and search.output_ratio"
    )


def _hypotheses(settings: Sequence[str], arms: Sequence[str]) -> list[Hypothesis]:
    dense = dense_arm(arms)

    def comparisons(first: str, second: str) -> list[Comparison]:
        return [
            Comparison(f"{share} kept, {first} minus {second}", (share, first), (share, second))
            for share in settings
        ]

    return [
        Hypothesis(
            "Random weights that are looked for end above random ones at random places",
            comparisons("strong-untrained", "strong-shuffled"),
        ),
        Hypothesis(
            "Untrained, they are as good as the trained ticket",
            comparisons("strong-untrained", "ticket"),
            "same",
        ),
        Hypothesis("Trained, they end above the trained ticket", comparisons("strong-trained", "ticket")),
        Hypothesis(f"Untrained, they are as good as {dense}", comparisons("strong-untrained", dense), "same"),
    ]


STUDY = Study(
    name="strong",
    question="is a sub-network of random weights as good as one that is trained?",
    help="shares of the weights that are kept in the end, whatever the rounds",
    setting_type=Share,
    defaults=(0.1, 0.2, 0.5),
    cells=_cells,
    hypotheses=_hypotheses,
    figure="end",
    axis="share kept",
    pruning_methods=("edge_popup",),
    needs=(needs_training, _needs_trained_weights, _needs_single_weights),
)
