"""Walks over all fields of the recipe: their paths, types and values."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.eps import Eps

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
        {"search": {"pruning_method": "random"}},
        {"search": {"granularity": "channel"}},
    )
)


def leaves(instance, path=""):
    """Every field that is no dataclass of fields itself: its path, its type and its value."""
    for name, hint in get_type_hints(type(instance), include_extras=True).items():
        value = getattr(instance, name)
        if dataclasses.is_dataclass(value) and not isinstance(value, Eps):
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", hint, value


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
        return tuple(x / 2 for x in value) if isinstance(value[0], float) else tuple(reversed(value))
    kinds = {
        bool: lambda: not value,
        int: lambda: value + 1,
        float: lambda: value / 2,
        str: lambda: {"resnet20": "resnet32", "conv-2": "conv-4"}.get(value, value + "x"),
    }
    return kinds.get(type(value), lambda: Eps("1/7") if kind is Eps else Path("/some/where"))()


def wrong_types(hint):
    """Values of other types than the field's, as TOML or Python may have them."""
    kind = plain_type(hint)
    if get_origin(kind) is Literal:
        return [3.5, True, [get_args(kind)[0]]]
    if get_origin(kind) is tuple:
        return ["dense", [], {"dense": 1}]
    return {
        bool: [1, "true"],
        int: [True, 3.5, "3"],
        float: [True, "0.1", [0.1]],
        str: [3, True],
        Path: [3],
        Eps: [True, [8, 255]],
    }[kind]


LEAVES = list(leaves(BASES[0]))
PATHS = [path for path, _, _ in LEAVES]
