"""The recipe: everything that defines a run, checked, found by name or file, and recorded."""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import tomli_w

from robust_tickets.base.errors import InputError, unknown_name
from robust_tickets.recipe import schema
from robust_tickets.recipe.fields import (
    NARROW_ARMS,
    NETS,
    WITH_DROPOUT,
    Compare,
    Compute,
    Data,
    Evaluate,
    Model,
    Search,
    Study,
    Threat,
    Train,
    Training,
)
from robust_tickets.recipe.methods import METHODS, make_method, method_class
from robust_tickets.recipe.pruning_methods import (
    PRUNING_METHODS,
    make_pruning_method,
    pruning_method_class,
)

FORMAT = 1
"""Version of the run directory's layout; part of a run's identity."""


@dataclass(frozen=True)
class Recipe:
    """Everything that defines a run. Two runs are the same run if their recipes are equal."""

    name: str = "custom"
    """name of the recipe; run directories begin with it"""
    summary: str = ""
    """one line on what it is for; not part of the run's identity"""
    data: Data = Data()
    model: Model = Model()
    threat: Threat = Threat()
    search: Search = Search()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    compare: Compare = Compare()
    compute: Compute = Compute()
    study: Study = Study()

    @property
    def identity(self) -> str:
        """Eight hex digits of the whole resolved recipe and the format, without paths and prose."""
        return _digest({"format": FORMAT, **to_table(self)})


def to_table(recipe: Recipe) -> dict[str, Any]:
    """The recipe as run directories and tickets keep it: every field resolved, no path, prose or study."""
    table = schema.plain(recipe)
    for private in ("root", "download"):
        table["data"].pop(private, None)
    training_methods = {name: method_class(name) for name in METHODS}
    for training in (table["search"], table["train"]):
        _drop_unused_settings(training, training["method"], training_methods)
    pruning_methods = {name: pruning_method_class(name) for name in PRUNING_METHODS}
    _drop_unused_settings(table["search"], table["search"]["pruning_method"], pruning_methods)
    del table["summary"], table["study"]
    return dict(table)


def _drop_unused_settings(table: dict[str, Any], used: str, classes: Mapping[str, Any]) -> None:
    """Leave out the default settings of methods that are not used: a new method changes no run's identity."""
    for name, cls in classes.items():
        if name != used and table.get(name) == schema.plain(cls.Settings()):
            del table[name]


def from_table(table: object, base: Recipe | None = None) -> Recipe:
    """A checked recipe from plain tables, `base` (or the defaults) where they are silent."""
    recipe = schema.read(Recipe, table, base)
    check(recipe)
    return recipe


def check(recipe: Recipe) -> None:
    """Raise InputError where a field, or two fields together, make no sense."""
    schema.check(recipe)
    if not recipe.name or not all(c.isalnum() or c in "-_." for c in recipe.name) or recipe.name[0] == ".":
        raise InputError(
            f"name {recipe.name!r:.80} becomes a folder: set name to letters, digits, '-', '_' and '.' alone"
        )
    if len(set(recipe.compare.arms)) < len(recipe.compare.arms):
        raise InputError(f"compare.arms names an arm twice: {' '.join(recipe.compare.arms)}")
    if "dense" not in recipe.compare.arms:
        raise InputError("compare.arms lacks dense, which the other arms are measured against: add it")
    _check_data(recipe.data)
    _check_model(recipe.model)
    if recipe.threat.norm == "Linf" and recipe.threat.eps.value > 1:
        raise InputError(
            f"threat.eps: eps {recipe.threat.eps} is out of range: images lie in [0, 1], so use "
            "0 < eps <= 1 with norm Linf, as 8/255"
        )
    if recipe.threat == Threat(norm="L2"):
        raise InputError(
            f"threat.eps {recipe.threat.eps} is the usual radius in Linf and next to nothing in L2: give "
            "threat.eps too, as 0.5 or 128/255"
        )
    for concern, training in (("search", recipe.search), ("train", recipe.train)):
        _check_training(concern, training)
        _check_method(concern, training, recipe.threat)
    _check_search(recipe.search)
    _check_arms(recipe)
    if bool(recipe.train.iterations) != bool(recipe.train.ticket_iterations):
        raise InputError(
            "train.iterations and train.ticket_iterations belong together: give both, or neither and epochs"
        )


def _check_data(data: Data) -> None:
    if data.resize and data.name != "folder":
        raise InputError(
            f"data.resize is for data.name folder, and {data.name} has a size of its own: leave it out"
        )
    if data.flip and data.name not in ("folder", "own"):
        raise InputError(
            f"data.flip is for data.name folder, {data.name} has an augmentation of its own: leave it out"
        )


def _check_model(model: Model) -> None:
    own = ":" in model.name
    if not own and model.name not in NETS and not _WIDE.fullmatch(model.name):
        raise unknown_name(
            "value for model.name:", model.name, [*NETS, "wrn28-10", "wrn34-10", "module:function"]
        )
    if own and not _FUNCTION.fullmatch(model.name):
        raise InputError(
            f"model.name {model.name!r:.80} names no function: write module:function, as my_nets:small_net"
        )
    if own and model.width != 1:
        raise InputError(f"model.width does nothing to {model.name}, a net of your own: leave it out")
    if model.dropout and model.name not in WITH_DROPOUT:
        raise InputError(
            f"{model.name} has no dropout, so model.dropout does nothing: leave it out, or choose "
            f"{', '.join(WITH_DROPOUT)}"
        )


def _check_training(concern: str, training: Training) -> None:
    if training.warmup and training.warmup_lr > training.lr:
        raise InputError(
            f"{concern}.warmup_lr {training.warmup_lr:g} lies above {concern}.lr {training.lr:g}: "
            "a warm-up rises, so choose it smaller"
        )
    if training.warmup_lr and not training.warmup:
        raise InputError(
            f"{concern}.warmup_lr does nothing without {concern}.warmup: set it to 0, or give both"
        )
    if list(training.milestones) != sorted(set(training.milestones)):
        given = " ".join(f"{drop:g}" for drop in training.milestones)
        raise InputError(f"{concern}.milestones must rise, got {given}: write them as 0.5 0.75")
    if training.milestones != Training().milestones and training.schedule != "step":
        raise InputError(
            f"{concern}.milestones does nothing to the schedule {training.schedule}: leave it "
            f"out, or choose step"
        )


def _check_method(concern: str, training: Training, threat: Threat) -> None:
    """Raise InputError where the training method does not go with the threat model or another field."""
    method = make_method(training)
    if threat.norm not in method.norms:
        raise InputError(
            f"{concern}.method {training.method} is defined for threat.norm {' or '.join(method.norms)}, got "
            f"{threat.norm}: choose another method"
        )
    if training.overfitting == "restore-best" and not method.single_step:
        raise InputError(
            f"{concern}.overfitting restore-best does nothing to {concern}.method {training.method} as it is "
            "set: only networks whose training attack takes a single step overfit catastrophically; leave it "
            "out"
        )


def _check_arms(recipe: Recipe) -> None:
    """Raise InputError for controls that make no sense for the ticket."""
    search, arms = recipe.search, recipe.compare.arms
    for arm in arms:
        if arm in NARROW_ARMS and ":" in recipe.model.name:
            raise InputError(
                f"compare.arms {arm} needs a net with a width, which {recipe.model.name}, a net of your own, "
                "has not: leave it out"
            )
        if search.granularity == "channel" and arm in (
            "ticket-shuffle-layer",
            "ticket-shuffle-net",
            "random",
        ):
            raise InputError(
                f"compare.arms {arm} makes no sense with search.granularity channel: which of a layer's "
                "channels are kept makes no other net, only how many; its controls are ticket-reinit and "
                "dense-narrow-flops; leave it out"
            )
        if arm == "dense-staged" and search.after != "fine-tune":
            raise InputError(
                "compare.arms dense-staged is the control of a ticket that keeps what its search trained: "
                "choose search.pruning_method imp and search.after fine-tune, or leave it out"
            )
        if arm.removeprefix("ticket-") in make_pruning_method(search).redundant_transforms:
            raise InputError(
                f"compare.arms {arm} makes no sense with search.pruning_method {search.pruning_method}: it "
                "would be the ticket of another seed; leave it out"
            )


def _check_search(search: Search) -> None:
    make_pruning_method(search).check()
    for name in PRUNING_METHODS:
        if name != search.pruning_method and getattr(search, name, None) != getattr(Search(), name, None):
            raise InputError(f"search.{name} is for search.pruning_method {name}: add it, or leave it out")
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


_WIDE = re.compile(r"wrn\d+-\d+")
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
"""A dotted module, and a function (or a static method) in it."""


def load(recipe: str) -> Recipe:
    """The shipped recipe of that name, or the one in that TOML file. Raises InputError if there is none."""
    if recipe in shipped_names():
        text = (_folder() / f"{recipe}.toml").read_text(encoding="utf-8")
    else:
        path = Path(recipe)
        if path.suffix != ".toml" and not path.is_file():
            raise unknown_name("recipe", recipe, shipped_names())
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
            known = ", ".join(shipped_names())
            raise InputError(
                f"cannot read the recipe {recipe} ({reason}): give a TOML file, or one of {known}"
            ) from None
    try:
        table = tomllib.loads(text)
        data = table.get("data")
        for place in ("root", "download"):
            if isinstance(data, dict) and place in data:
                raise InputError(
                    f"data.{place} is of this machine and not of the recipe: give it by --data.{place}"
                )
        return from_table({"name": Path(recipe).stem, **table})
    except InputError as error:
        raise InputError(f"{recipe}: {error}") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # numbers may be too long, and tables too deep, for the parser
        raise InputError(f"{recipe} is no valid TOML: {error}") from None


def to_toml(recipe: Recipe, study: bool = False) -> str:
    """The recipe as TOML, as run directories keep it; with its grids, as studies do."""
    return tomli_w.dumps(to_table(recipe) | ({"study": schema.plain(recipe.study)} if study else {}))


def shipped_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(f.name.removesuffix(".toml") for f in _folder().iterdir() if f.name.endswith(".toml"))


def _folder() -> Traversable:
    return resources.files("robust_tickets.recipe") / "shipped"


def _digest(table: dict[str, Any]) -> str:
    text = json.dumps(table, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
