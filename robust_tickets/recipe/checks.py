"""Checks of a recipe's fields against each other: what makes no sense together is refused."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from robust_tickets.base.errors import InputError, unknown_name
from robust_tickets.recipe.arm_training import arm_training, arm_trainings
from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.fields import Data, Model, Search, Threat, Train, Training
from robust_tickets.recipe.methods import METHODS, WRAPPERS, make_method, used_settings, wrapper_class
from robust_tickets.recipe.pruning_methods import PRUNING_METHODS, make_pruning_method
from robust_tickets.recipe.table_checks import check_tables

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe

NETS = (
    "lenet-300-100",
    "conv-2",
    "conv-4",
    "conv-6",
    "vgg11",
    "vgg16",
    "vgg16-fc",
    "vgg19",
    "resnet20",
    "resnet32",
    "resnet56",
    "resnet18",
    "preact-resnet18",
)
"""The networks by name; WideResNets are named by depth and factor, as wrn34-10."""

WITH_DROPOUT = ("conv-2", "conv-4", "conv-6")
"""The networks with dropout."""

METHOD_FIELDS = (
    ("search", "method", METHODS),
    ("train", "method", METHODS),
    ("search", "pruning_method", PRUNING_METHODS),
)
"""The fields that choose a method, and the methods by name, each of which may have a table of settings."""

_WIDE = re.compile(r"wrn\d+-\d+")
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
    if threat.norm == "Linf" and threat.eps.value > 1:
        raise InputError(
            f"threat.eps {threat.eps} is out of range: images are in [0, 1], so use 0 < eps <= 1 with norm "
            "Linf, as 8/255"
        )
    if threat == Threat(norm="L2"):
        raise InputError(
            f"threat.eps {threat.eps} is the usual radius in Linf and next to nothing in L2: give threat.eps "
            "too, as 0.5 or 128/255"
        )


def check_training(concern: str, training: Training) -> None:
    """Raise InputError for a schedule that makes no sense; `concern` is search or train."""
    if training.warmup and training.warmup_lr > training.lr:
        raise InputError(
            f"{concern}.warmup_lr {training.warmup_lr:g} is above {concern}.lr {training.lr:g}: "
            "a warm-up rises, so choose it smaller"
        )
    if training.warmup_lr and not training.warmup:
        raise InputError(
            f"{concern}.warmup_lr does nothing without {concern}.warmup: set it to 0, or give both"
        )
    if training.smoothing != Training().smoothing and not training.label_smoothing:
        raise InputError(
            f"{concern}.smoothing does nothing without {concern}.label_smoothing: leave it out, or give both"
        )
    if list(training.milestones) != sorted(set(training.milestones)):
        milestones = " ".join(f"{share:g}" for share in training.milestones)
        raise InputError(f"{concern}.milestones must rise, got {milestones}: write them as 0.5 0.75")
    if training.milestones != Training().milestones and training.schedule != "step":
        raise InputError(
            f"{concern}.milestones does nothing to the schedule {training.schedule}: leave it "
            f"out, or choose step"
        )
    if isinstance(training, Train):
        _check_budgets(concern, training)
    batches = training.average_batches if isinstance(training, Train) and not training.average else None
    if batches not in (None, Train().average_batches):
        raise InputError(
            "train.average_batches does nothing without train.average: leave it out, or give both"
        )
    if isinstance(training, Train) and bool(training.iterations) != bool(training.ticket_iterations):
        raise InputError(
            f"{concern}.iterations and {concern}.ticket_iterations belong together: give both, or neither "
            "and epochs"
        )


def _check_budgets(concern: str, train: Train) -> None:
    if train.ticket_budget is not None and train.budget is None:
        raise InputError(
            f"{concern}.ticket_budget is for the short schedule, beside {concern}.budget for the full one: "
            "give both, or neither"
        )
    if train.budget is not None and (train.iterations or train.ticket_iterations):
        raise InputError(
            f"{concern}.budget {train.budget} and {concern}.iterations are both the length of the training: "
            "leave one out (iterations and ticket_iterations by 0)"
        )


def _is_timed(train: Train) -> bool:
    """Whether the short schedule is as long as a timing says."""
    budget = train.ticket_budget or train.budget
    return budget is not None and budget.unit == "seconds"


def check_method(concern: str, training: Training, threat: Threat) -> None:
    """Raise InputError where the training method does not go with the threat model or another field."""
    method = make_method(training)
    method.check(concern)
    if threat.norm not in method.norms:
        raise InputError(
            f"{concern}.method {training.method} is defined for threat.norm {' or '.join(method.norms)}, got "
            f"{threat.norm}: choose another method"
        )
    if training.overfitting != "warn" and not method.single_step:
        raise InputError(
            f"{concern}.overfitting {training.overfitting} does nothing to {concern}.method "
            f"{training.method} as it is set: only networks whose training attack takes a single step "
            "overfit catastrophically; leave it out"
        )
    if training.overfitting == "pgd" and training.overfitting_steps < 2:
        raise InputError(
            f"{concern}.overfitting_steps is 1, and networks overfit to attacks of one step: give 2 or more"
        )
    if training.overfitting != "pgd" and training.overfitting_steps != Training().overfitting_steps:
        raise InputError(
            f"{concern}.overfitting_steps does nothing without {concern}.overfitting pgd: leave it out, or "
            "give both"
        )


def check_unused_settings(recipe: "Recipe", base: "Recipe | None") -> None:
    """Raise InputError for settings of a method or wrapper that is not chosen, since they would do nothing.

    base: the recipe that this one changes; what it has may stay. None: the recipe is a file's, which may have
        settings of methods for a search, since a study may choose another one.
    """
    before = base or type(recipe)()
    for concern, field, methods in METHOD_FIELDS:
        if base is None and (concern, field) == ("search", "method"):
            continue
        fields = getattr(recipe, concern)
        chosen, used = getattr(fields, field), used_methods(recipe, concern, field)
        for name in methods:
            settings = getattr(fields, name, None)
            if name not in used and settings != getattr(getattr(before, concern), name, None):
                raise InputError(
                    f"{concern}.{name} is for {concern}.{field} {name}, and does nothing to {chosen}: choose "
                    f"{name}, or leave it out"
                )
    for concern in ("search", "train"):
        unused = WRAPPERS.keys() - used_wrappers(recipe, concern)
        _check_wrappers(concern, unused, getattr(recipe, concern), getattr(before, concern))


def _check_wrappers(concern: str, unused: Iterable[str], training: Training, base: Training) -> None:
    """Refuse settings of wrappers that are off; those that `base` has may stay."""
    for name in unused:
        cls, settings = wrapper_class(name), getattr(training, name)
        off = cls.Settings()
        rest = replace(getattr(base, name), **{cls.switch: getattr(off, cls.switch)})
        if settings not in (off, rest):
            raise InputError(
                f"{concern}.{name} does nothing without {concern}.{name}.{cls.switch}: give it too, or leave "
                "the other settings out"
            )


def used_wrappers(recipe: "Recipe", concern: str) -> set[str]:
    """The wrappers that are on in the recipe's search, or in any of its trainings."""
    trainings = [getattr(recipe, concern)]
    trainings += arm_trainings(recipe).values() if concern == "train" else []
    return {name for training in trainings for name in WRAPPERS.keys() & used_settings(training)}


def used_methods(recipe: "Recipe", concern: str, field: str) -> set[str]:
    """The methods that the recipe uses of those that a field chooses from."""
    used = {getattr(getattr(recipe, concern), field)}
    return used | {t.method for t in arm_trainings(recipe).values()} if concern == "train" else used


def check_arm_settings(recipe: "Recipe", base: "Recipe | None") -> None:
    """Raise InputError for tables of arms with wrong fields, or that do nothing.

    base: the recipe that this one changes; tables that it has may stay without an arm. None: a file's.
    """
    if "dense" in recipe.arms.tables:
        raise InputError("[arms.dense] is [train] itself, which the other arms begin from: change that")
    for arm, training in arm_trainings(recipe).items():
        check_training(f"arms.{arm}", training)
        for name in METHODS.keys() - {training.method}:
            if getattr(training, name, None) != getattr(recipe.train, name, None):
                raise InputError(
                    f"arms.{arm}: the settings {name} do nothing to the method {training.method}: choose "
                    f"method {name}, or leave them out"
                )
        unused = WRAPPERS.keys() - used_settings(training)
        _check_wrappers(f"arms.{arm}", unused, training, recipe.train)
        check_method(f"arms.{arm}", training, recipe.threat)
    known = None if base is None else base.arms.tables
    check_tables(recipe.arms.tables, known, recipe.compare.arms)


def check_arms(recipe: "Recipe") -> None:
    """Raise InputError for arms that are named twice, lack dense, or make no sense in the recipe."""
    names = recipe.compare.arms
    if len(set(names)) < len(names):
        raise InputError(f"compare.arms names an arm twice: {' '.join(names)}")
    if "dense" not in names:
        raise InputError("compare.arms lacks dense, which the other arms are measured against: add it")
    for name in names:
        reason, source = arm_refusal(name, recipe), ARMS[name].best_epoch_of
        if reason:
            raise InputError(f"compare.arms {name} {reason}")
        if (
            ARMS[name].schedule.follows_ticket
            and "ticket" not in names
            and _is_timed(arm_training(recipe, "ticket"))
        ):
            raise InputError(
                f"compare.arms {name} follows the ticket, whose length is timed: add the arm ticket, or give "
                "budgets in passes or FLOPs"
            )
        if source and source not in names:
            raise InputError(f"compare.arms {name} is read from the files of {source}: add it")


def arm_refusal(name: str, recipe: "Recipe") -> str:
    """The reason why an arm makes no sense in a recipe, as the end of "compare.arms NAME ..."; "": none."""
    arm, search = ARMS[name], recipe.search
    if arm.transform in make_pruning_method(search).redundant_transforms:
        return (
            f"makes no sense with search.pruning_method {search.pruning_method}: it would be the ticket of "
            "another seed; leave it out"
        )
    return arm.refusal(recipe)


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
    if search.after == "fine-tune" and (search.rewind_iterations or search.rewind_epochs):
        raise InputError(
            "search.after fine-tune does not rewind: leave out search.rewind_iterations or _epochs"
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


def _check_channels(search: Search) -> None:
    for field in ("fc_ratio", "output_ratio", "prune_output"):
        if getattr(search, field) != getattr(Search(), field):
            raise InputError(
                f"search.{field} is for single weights, and does nothing with search.granularity channel: "
                "leave it out"
            )
