"""The schedules of arms: how long each is trained, and with which settings."""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from robust_tickets.recipe.arm import Schedule, Stage

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe
    from robust_tickets.recipe.training_fields import Training

FULL = Schedule(lambda lengths: lengths.full)
SHORT = Schedule(lambda lengths: lengths.short)
EQUAL_COST = Schedule(lambda lengths: lengths.equal_cost, follows_ticket=True)
TICKET_EQUAL_COST = Schedule(lambda lengths: lengths.ticket_equal_cost, follows_ticket=True)
AMORTISED = Schedule(lambda lengths: lengths.amortised, follows_ticket=True)
EQUAL_SECONDS = Schedule(lambda lengths: lengths.equal_seconds, follows_ticket=True, follows_seconds=True)
UNTRAINED = Schedule(lambda lengths: 0, settings=lambda recipe: replace(recipe.train, average=0.0))
TICKET_COST = Schedule(lambda lengths: lengths.ticket_cost, follows_ticket=True)


def search_rate(recipe: "Recipe") -> "Training":
    """The settings of dense training from the search's learning rate, without warm-up."""
    search, train = recipe.search, recipe.train
    both = search.optimiser == train.optimiser == "muon"
    muon_lr = search.muon_lr if both else train.muon_lr
    return replace(train, lr=search.lr, muon_lr=muon_lr, warmup=0.0, warmup_lr=0.0)


SEARCH_STAGE = Stage(
    "dense-staged-first",
    Schedule(
        lambda lengths: lengths.search_cost,
        settings=lambda recipe: recipe.search.training,
        follows_ticket=True,
    ),
    note="Of `dense-staged`, the seconds of search are those of its first stage.",
)
"""The whole network trained as the search trains it, in one go, for the FLOPs of the search."""


def dynamic(share: float, grow: Literal["gradient", "random"], end: float) -> Schedule:
    """The full schedule under a mask that moves; how often, and all else, is as `[train]` has it."""

    def settings(recipe: "Recipe") -> "Training":
        moving = replace(vars(recipe.train)["dst"], share=share, grow=grow, end=end)
        return replace(recipe.train, **{"dst": moving})

    return replace(FULL, settings=settings)
