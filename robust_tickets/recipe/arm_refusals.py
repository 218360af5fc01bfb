"""Why a recipe cannot have an arm: each gives the end of "compare.arms NAME ..."; "": it can."""

from typing import TYPE_CHECKING

from robust_tickets.recipe.pruning_methods import make_pruning_method

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe


def no_width(recipe: "Recipe") -> str:
    """The reason against an arm of another width."""
    if ":" not in recipe.model.name:
        return ""
    return f"needs a network with a width, and {recipe.model.name}, one of your own, has none: leave it out"


def no_places(recipe: "Recipe") -> str:
    """The reason against an arm with the weights at other positions."""
    if recipe.search.basis.startswith("svd"):
        return (
            f"makes no sense with search.basis {recipe.search.basis}, whose other positions are the smaller "
            "singular values; its control is ticket-reinit; leave it out"
        )
    if recipe.search.granularity == "channel":
        return (
            "moves single weights, and search.granularity channel prunes whole channels; its controls are "
            "ticket-reinit, reinit-equal-cost and ticket-shuffle-channels; leave it out"
        )
    return ""


def no_trained_channels(recipe: "Recipe") -> str:
    """The reason against an arm with other channels of the network that the search has trained."""
    if recipe.search.granularity != "channel":
        return (
            "moves whole channels, and search.granularity weight prunes single weights: choose "
            "search.granularity channel, or leave it out"
        )
    if make_pruning_method(recipe.search).keeps_trained_weights:
        return ""
    return (
        "makes no sense with search.after rewind: of a network at its init, it matters how many channels are "
        "kept, and not which: choose search.after lr-rewind, or its control ticket-reinit, or leave it out"
    )


def no_trained_ticket(recipe: "Recipe") -> str:
    """The reason against the control of a ticket that starts from trained weights."""
    if make_pruning_method(recipe.search).keeps_trained_weights:
        return ""
    return (
        "is the control of a ticket that keeps what its search trained: choose search.pruning_method imp and "
        "search.after lr-rewind, or leave it out"
    )


def no_ticket_arm(recipe: "Recipe") -> str:
    """The reason against an arm that takes as long as the arm ticket."""
    return "" if "ticket" in recipe.compare.arms else "takes the seconds of the arm ticket: add that"


def no_single_weights(recipe: "Recipe") -> str:
    """The reason against an arm whose mask of single weights moves."""
    if recipe.search.granularity == "weight":
        return ""
    return "moves single weights, and search.granularity channel prunes whole channels: leave it out"
