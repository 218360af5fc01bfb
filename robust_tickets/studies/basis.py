"""Study basis: does it matter in which coordinates a ticket is sparse? (Alabdulmohsin et al. 2021)"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, get_args

from robust_tickets.recipe.schema import OneOf
from robust_tickets.recipe.training_fields import BasisKind
from robust_tickets.studies.base import Cell, Comparison, Hypothesis, Study
from robust_tickets.studies.cells import dense_arm, needs_training, with_search

if TYPE_CHECKING:
    import pandas as pd

    from robust_tickets.recipe.fields import Evaluate
    from robust_tickets.recipe.recipe import Recipe

BASES = get_args(BasisKind)


def _cells(base: "Recipe", bases: tuple[str, ...]) -> Iterator[Cell]:
    """The recipe's search in each basis, with as many coefficients kept."""
    for basis in bases:
        axes = base.search.basis_axes if basis in ("dct", "random") else "spatial"
        yield Cell(basis, with_search(base, basis=basis, basis_axes=axes))


def _needs_weights(base: "Recipe") -> str:
    if base.search.granularity == "weight":
        return ""
    return "channels have no basis: use a recipe with search.granularity weight"


def _needs_imp(base: "Recipe") -> str:
    method = base.search.pruning_method
    return "" if method == "imp" else f"{method} prunes weights: choose search.pruning_method imp"


def _hypotheses(settings: Sequence[str], arms: Sequence[str]) -> list[Hypothesis]:
    dense = dense_arm(arms)

    def against(other: str) -> list[Comparison]:
        return [
            Comparison(f"{basis} minus {other}", (basis, "ticket"), (other, "ticket"))
            for basis in settings
            if basis != other and not (other == "canonical" and basis == "random")
        ]

    within = [
        Comparison(f"{basis}, ticket minus ticket-reinit", (basis, "ticket"), (basis, "ticket-reinit"))
        for basis in settings
    ]
    ends = [
        Comparison(f"{basis}, ticket minus {dense}", (basis, "ticket"), (basis, dense)) for basis in settings
    ]
    found = [
        Hypothesis("Tickets end above their masks with a new init", within),
        Hypothesis(f"They end where {dense} ends", ends, "same"),
    ]
    for other, name in (("random", "those of a random basis"), ("canonical", "canonical ones")):
        if other in settings and against(other):
            found.append(Hypothesis(f"Tickets end above {name}", against(other)))
    return found


def _remark(rows: "pd.DataFrame", evaluate: "Evaluate") -> str:
    """How many coefficients the tickets keep, since those of singular vectors are far fewer."""
    density = rows[rows.arm == "ticket"].groupby("setting", sort=False).density.mean()
    shares = ", ".join(f"{basis} {share:.1%}" for basis, share in density.items())
    return (
        f"Of all numbers of the prunable weights the tickets train: {shares}. No basis but the canonical one "
        "saves FLOPs."
    )


STUDY = Study(
    name="basis",
    question="does it matter in which coordinates a ticket is sparse?",
    help="bases whose coefficients are pruned; random is the control",
    setting_type=Annotated[str, OneOf(lambda: BASES)],
    defaults=("canonical", "dct", "random"),
    cells=_cells,
    hypotheses=_hypotheses,
    figure="end",
    axis="basis in which the ticket is sparse",
    varies="search.basis",
    metavar="BASIS...",
    needs=(needs_training, _needs_imp, _needs_weights),
    remark=_remark,
)
