"""Walks over all fields of the recipe: their paths, types and values."""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.arm_settings import ArmSettings
from robust_tickets.recipe.budget import Budget
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.methods import METHODS
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.schema import TEXT_TYPES, Range

# each field can be changed by itself in one of these
BASES = tuple(
    recipes.from_table(table)
    for table in (
        {
            "search": {"warmup": 0.2, "warmup_lr": 0.001, "stop_distance": 0.1},
            "train": {"warmup": 0.2, "warmup_lr": 0.001},
            "compare": {"arms": ["dense", "ticket"]},
        },
        {
            "data": {"name": "folder", "resize": 32},
            "threat": {"eps": "0.5"},
            "model": {"name": "conv-2", "dropout": 0.5},
            "search": {"scope": "layer", "fc_ratio": 0.5, "output_ratio": 0.25, "method": "fgsm"},
            "train": {"iterations": 100, "ticket_iterations": 50, "method": "fgsm"},
        },
        {"train": {"budget": "1e6passes"}},
        {"train": {"average": 0.9}},
        {"search": {"pruning_method": "random"}},
        {stage: {"label_smoothing": 0.1} for stage in ("search", "train")},
        {stage: {"optimiser": "muon"} for stage in ("search", "train")},
        {stage: {"method": "fgsm", "overfitting": "pgd"} for stage in ("search", "train")},
        *({"search": {"method": name}, "train": {"method": name}} for name in METHODS),
        {"search": {"granularity": "channel"}},
        {"compare": {"arms": ["dense", "ticket+liet"]}},
        {"compare": {"arms": ["dense", "dense-amortised"], "reuses": 2}},
        {"evaluate": {"aa_images": 20}},
        {"compare": {"contrasts": ["ticket minus dense", "ticket not worse than dense"]}},
        {stage: {"awp": {"gamma": 0.01, "warmup": 0.5}} for stage in ("search", "train")},
        {stage: {"curriculum": {"share": 0.5, "rel_step": 0.5}} for stage in ("search", "train")},
        {"train": {"dst": {"share": 0.5}}},
        {"search": {"pruning_method": "hydra"}},
        {"search": {"pruning_method": "edge_popup", "edge_popup": {"lr": 0.5}}},
        {"search": {"pruning_method": "recursive", "recursive": {"networks": "resnet14"}}},
        {"search": {"basis": "dct"}},
    )
)


def leaves(cls, path=""):
    """Every field that is no dataclass of fields itself: its path and its type."""
    for name, hint in get_type_hints(cls, include_extras=True).items():
        if dataclasses.is_dataclass(hint) and hint not in TEXT_TYPES:
            yield from leaves(hint, f"{path}{name}.")
        else:
            yield f"{path}{name}", hint


def replace_field(instance, path, value):
    """A copy of the instance with the field at that path replaced."""
    name, _, rest = path.partition(".")
    inner = replace_field(getattr(instance, name), rest, value) if rest else value
    return dataclasses.replace(instance, **{name: inner})


def plain_type(hint):
    """The type without its annotations and without `| None`."""
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    types = [kind for kind in get_args(hint) if kind is not type(None)]
    return plain_type(types[0]) if type(None) in get_args(hint) else hint


def nested(path, value):
    """The nested tables that have one field."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def another(hint, value):
    """A valid value of a type other than this one."""
    kind = plain_type(hint)
    if get_origin(kind) is Literal:
        return next(word for word in get_args(kind) if word != value)
    if get_origin(kind) is tuple:
        halves = bool(value) and isinstance(value[0], float)
        return tuple(x / 2 for x in value) if halves else tuple(reversed(value))
    kinds = {
        bool: lambda: not value,
        int: lambda: value + 1,
        float: lambda: value / 2,
        str: lambda: {"resnet20": "resnet32", "conv-2": "conv-4"}.get(value, value + "x"),
    }
    others = {
        Eps: Eps("1/7"),
        Budget: Budget("2e6passes"),
        ArmSettings: ArmSettings({"liet": {"lr": 0.02}}),
    }
    return kinds.get(type(value), lambda: others.get(kind, Path("/some/where")))()


ACCEPTED = {
    bool: {bool},
    int: {int},
    float: {int, float},
    str: {str},
    Path: {str},
    Eps: {str, int, float},
    Budget: {str},
    ArmSettings: {dict},
}


def wrong_types(hint):
    """Values of other types than the field's, as TOML or Python may have them."""
    kind = plain_type(hint)
    values = (True, 3, 1.5, "x", [], [3], {"x": 1}, b"x")
    if get_origin(kind) is tuple:
        return [value for value in values if value != [3]]
    if get_origin(kind) is Literal:
        return [*values, [get_args(kind)[0]]]
    return [value for value in values if type(value) not in ACCEPTED[kind]]


def bounds_of(hint):
    """The range of a number's type, or None."""
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((extra for extra in extras if isinstance(extra, Range)), None)


def edges(hint, inside):
    """The numbers just within a type's range, or those just outside and those that no range admits."""
    kind, bounds = plain_type(hint), bounds_of(hint)
    step = 1 if kind is int else 1e-9
    if inside:
        numbers = [bounds.least, bounds.most, bounds.above + step, bounds.below - step]
    else:
        numbers = [bounds.above, bounds.below, bounds.least - step, bounds.most + step]
    others = [] if inside or kind is int else [math.nan, math.inf, -math.inf]
    return [kind(number) for number in numbers if math.isfinite(number)] + others


LEAVES = dict(leaves(Recipe))
NUMBERS = [path for path, hint in LEAVES.items() if bounds_of(hint)]
