"""Study controls: does the ticket have an early advantage over every control?"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.arms import arm_names, controls, is_arm
from robust_tickets.recipe.schema import OneOf
from robust_tickets.studies.base import Cell, Comparison, Hypothesis, Study
from robust_tickets.studies.cells import dense_arm, with_dense

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe

_NO_CONTROLS = {"ticket", "dense-best", "dense-equal-cost", "dense-equal-seconds", "dense-staged"}
"""Arms that the ticket is not compared with: dense-best is dense until it stops, and what is trained for the
ticket's cost has another schedule."""


def _cells(base: "Recipe", arms: tuple[str, ...]) -> Iterator[Cell]:
    for arm in ("dense", "ticket"):
        if arm not in arms:
            raise InputError(f"study.controls lacks {arm}, which the controls are compared with: add it")
    if arms == controls():  # nobody asked for those that make no sense in this recipe
        from robust_tickets.recipe.arm_checks import (
            arm_refusal,  # it knows the recipe's fields, which know studies
        )

        arms = tuple(arm for arm in arms if not arm_refusal(arm, base))
    yield Cell("controls", with_dense(base, arms))


def _hypotheses(settings: Sequence[str], arms: Sequence[str]) -> list[Hypothesis]:
    """Against all arms that are trained on the ticket's schedule, as the ticket is.

    Arms of another method or with settings of their own, ARM+METHOD, have rows and no part in the verdict.
    """
    (setting,) = settings
    others = [a for a in arms if "+" not in a and a not in _NO_CONTROLS and a != _other_dense(arms)]
    comparisons = [Comparison(f"ticket minus {arm}", (setting, "ticket"), (setting, arm)) for arm in others]
    return [Hypothesis("The ticket has an early advantage over every control", comparisons)]


def _other_dense(arms: Sequence[str]) -> str:
    """Dense, where it is not on the ticket's schedule."""
    return "" if dense_arm(arms) == "dense" else "dense"


STUDY = Study(
    name="controls",
    question="does the ticket have an early advantage over every control?",
    help="the arms; ARM+METHOD is shown and has no part in the verdict",
    setting_type=Annotated[str, OneOf(arm_names, is_arm)],
    defaults=controls(),
    cells=_cells,
    hypotheses=_hypotheses,
    figure="early",
    axis="arm",
    varies="compare.arms",
    metavar="ARM...",
)
