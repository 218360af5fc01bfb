"""Checks of the images, the network, the threat model and the search: what makes no sense is refused."""

import re

from robust_tickets.base.errors import InputError, unknown_name
from robust_tickets.recipe.eps import check_radius
from robust_tickets.recipe.fields import Data, Evaluate, Model, Threat
from robust_tickets.recipe.pruning_methods import make_pruning_method
from robust_tickets.recipe.training_fields import Search

NETS = (
    "lenet-300-100",
    "conv-2",
    "conv-4",
    "conv-6",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg16-fc",
    "vgg16-3fc",
    "vgg19",
    "resnet14",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet18",
    "preact-resnet18",
)
"""The networks by name; WideResNets are named by depth and factor, as wrn34-10, MLPs by depth, as mlp-3."""

WITH_DROPOUT = ("conv-2", "conv-4", "conv-6")
"""The networks with dropout."""

_WIDE = re.compile(r"wrn\d+-\d+|mlp-\d+")
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
"""A module and a function, or a static method of a class, in it: my_nets:small_net."""


def check_data(data: Data) -> None:
    """Raise InputError for a field that does nothing to the data set."""
    if data.resize and data.name != "folder":
        raise InputError(
            f"data.resize is for data.name folder, and images of {data.name} have a fixed size: leave it out"
        )
    if data.flip and data.name not in ("folder", "own"):
        raise InputError(
            f"data.flip is for data.name folder, and {data.name} has a fixed augmentation: leave it out"
        )


def check_model(model: Model) -> None:
    """Raise InputError for an unknown network, or a field that does nothing to the network."""
    user_net = ":" in model.name
    named = model.name in NETS or _WIDE.fullmatch(model.name) is not None
    # a file or a dotted name is meant for a function, too
    if not named and (user_net or re.search(r"[./\\]", model.name)) and not _FUNCTION.fullmatch(model.name):
        raise InputError(
            f"model.name {model.name!r:.80} names no function: write module:function, as my_nets:small_net "
            "or my_nets.py:small_net"
        )
    if not named and not user_net:
        raise unknown_name(
            "value for model.name:", model.name, [*NETS, "wrn28-10", "wrn34-10", "module:function"]
        )
    if user_net and model.width != 1:
        raise InputError(f"model.width does nothing to {model.name}, a network of your own: leave it out")
    if model.dropout and model.name not in WITH_DROPOUT:
        raise InputError(
            f"{model.name} has no dropout, so model.dropout does nothing: leave it out, or choose "
            f"{', '.join(WITH_DROPOUT)}"
        )


def check_threat(threat: Threat) -> None:
    """Raise InputError for a radius that is too large for its norm, or was not chosen for it."""
    check_radius("threat.eps", threat.eps, threat.norm)
    if threat == Threat(norm="L2"):
        raise InputError(
            f"threat.eps {threat.eps} is the usual radius in Linf and next to nothing in L2: give threat.eps "
            "too, as 0.5 or 128/255"
        )


def check_evaluate(evaluate: Evaluate, base: Evaluate | None) -> None:
    """Raise InputError for checkpoints under AutoAttack without the last epoch, named twice, or to no effect.

    base: the fields before they were changed, which may stay without an effect; None: a file's.
    """
    names = " ".join(evaluate.aa_checkpoints)
    if "last" not in evaluate.aa_checkpoints:
        raise InputError(
            f"evaluate.aa_checkpoints {names} lacks last, which tables and verdicts rest on: add it"
        )
    if len(set(evaluate.aa_checkpoints)) < len(evaluate.aa_checkpoints):
        raise InputError(f"evaluate.aa_checkpoints names a checkpoint twice: {names}")
    unchanged = [set((base or Evaluate()).aa_checkpoints), set(Evaluate().aa_checkpoints)]
    if not evaluate.aa_images and set(evaluate.aa_checkpoints) not in unchanged:
        raise InputError(
            f"evaluate.aa_checkpoints {names} does nothing without evaluate.aa_images: leave it out, or give "
            "both"
        )
    wholes = (Evaluate().aa_whole, (base or Evaluate()).aa_whole)
    if not evaluate.aa_images and evaluate.aa_whole not in wholes:
        raise InputError(
            f"evaluate.aa_whole {evaluate.aa_whole} does nothing without evaluate.aa_images: leave it out, "
            "or give both"
        )


def check_search(search: Search) -> None:
    """Raise InputError for fields of the search that make no sense together."""
    make_pruning_method(search).check()
    if search.granularity == "channel":
        _check_channels(search)
    elif search.round_to != Search().round_to:
        raise InputError(
            "search.round_to is for search.granularity channel, and does nothing to single weights: add it, "
            "or leave it out"
        )
    check_basis(search)
    if search.after == "lr-rewind" and (search.rewind_iterations or search.rewind_epochs):
        raise InputError(
            "search.after lr-rewind does not rewind: leave out search.rewind_iterations or _epochs"
        )
    if search.scope == "global" and (search.fc_ratio is not None or search.output_ratio is not None):
        raise InputError(
            "search.fc_ratio and search.output_ratio are for search.scope layer: add it, or leave them out"
        )
    if search.output_ratio is not None and not search.prune_output:
        raise InputError("search.output_ratio does nothing where search.prune_output is false: leave one out")
    if search.rewind_iterations and search.rewind_epochs:
        raise InputError("give one of search.rewind_iterations and search.rewind_epochs, not both")
    if search.rewind_iterations and search.iterations and search.rewind_iterations >= search.iterations:
        raise InputError(
            f"search.rewind_iterations {search.rewind_iterations} is no less than the {search.iterations} "
            "iterations of a round: choose an earlier step"
        )
    if search.rewind_epochs and not search.iterations and search.rewind_epochs >= search.epochs:
        raise InputError(
            f"search.rewind_epochs {search.rewind_epochs} is no less than the {search.epochs} epochs of a "
            "round: choose an earlier one"
        )


def check_basis(search: Search) -> None:
    """Raise InputError for a basis that does not go with the search."""
    if search.basis not in ("dct", "random") and search.basis_axes != Search().basis_axes:
        raise InputError(
            f"search.basis_axes does nothing to search.basis {search.basis}: leave it out, or choose dct or "
            "random"
        )
    if search.basis == "canonical":
        return
    if search.granularity == "channel":
        raise InputError(
            f"search.basis {search.basis} prunes coefficients, and search.granularity channel prunes "
            "channels: leave one out"
        )
    if search.basis.startswith("svd") and search.rounds > 1:
        raise InputError(
            f"search.basis {search.basis} is that of the weights at the end of a training, and search.rounds "
            f"is {search.rounds}: give 1"
        )
    if search.basis.startswith("svd") and search.stop_distance:
        raise InputError(
            f"search.stop_distance compares masks, and those of search.basis {search.basis} are each in a "
            "basis of their own: leave it out"
        )


def _check_channels(search: Search) -> None:
    for field in ("fc_ratio", "output_ratio", "prune_output"):
        if getattr(search, field) != getattr(Search(), field):
            raise InputError(
                f"search.{field} is for single weights, and does nothing with search.granularity channel: "
                "leave it out"
            )
