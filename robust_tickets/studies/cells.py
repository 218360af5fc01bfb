"""Parts that the records of several studies share: cells, what they need, and names in their claims."""

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from robust_tickets.recipe.pruning_methods import make_pruning_method, pruning_method_class

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe

TICKET_AND_REINIT = ("ticket", "ticket-reinit")
"""The arms of most studies besides dense ones: the ticket, and its mask with a new init."""


def with_dense(recipe: "Recipe", arms: tuple[str, ...] = TICKET_AND_REINIT) -> "Recipe":
    """The recipe with these arms and dense and, where the ticket's schedule is another, dense-short.

    Warm-up and milestones are shares of a schedule, so that two schedules differ from the first step.
    """
    if "dense" not in arms:
        arms = ("dense", *arms)
    if not recipe.train.lengths_are_equal and "dense-short" not in arms:
        after_dense = arms.index("dense") + 1
        arms = (*arms[:after_dense], "dense-short", *arms[after_dense:])
    return replace(recipe, compare=recipe.compare.with_arms(arms))


def with_search(base: "Recipe", **fields: Any) -> "Recipe":
    """The base with other fields of the search, and the usual arms."""
    return with_dense(replace(base, search=replace(base.search, **fields)))


def with_pruning_method(base: "Recipe", name: str) -> "Recipe":
    """The base with another pruning method of one round that keeps as many weights.

    Fields of the search that do nothing with it are as by default.
    """
    search = base.search
    unused = pruning_method_class(name).unused
    changes: dict[str, Any] = {field.name: field.default for field in fields(search) if field.name in unused}
    for field in ("ratio", "fc_ratio", "output_ratio"):
        share = getattr(search, field)
        if share is not None and search.rounds > 1:
            changes[field] = 1 - (1 - share) ** search.rounds
    return replace(base, search=replace(search, pruning_method=name, **changes))


def needs_training(base: "Recipe") -> str:
    """The reason against a search that does not train."""
    return "" if make_pruning_method(base.search).trains else _unused(base)


def needs_data(base: "Recipe") -> str:
    """The reason against a search that uses neither init nor images, such as random places."""
    return "" if make_pruning_method(base.search).uses_data else _unused(base)


def _unused(base: "Recipe") -> str:
    method = base.search.pruning_method
    return f"it varies something that does nothing with search.pruning_method {method}: choose imp"


def smallest_and_largest(settings: Sequence[str]) -> tuple[str, str]:
    """The smallest and the largest of settings that are numbers."""
    return min(settings, key=float), max(settings, key=float)


def dense_arm(arms: Sequence[str]) -> str:
    """The dense arm that is on the ticket's schedule."""
    return "dense-short" if "dense-short" in arms else "dense"


def trainings_that_pay(once: float, saved: float, name: str = "training") -> str:
    """How many trainings, each of which saves so much, pay for a cost that is there once, as a text.

    name: of a training in the text.
    """
    from robust_tickets.report.reuse import trainings_to_pay

    number = trainings_to_pay(once, saved)
    return "no number" if math.isinf(number) else f"{number:.0f} {name}{'s' * (number != 1)}"
