"""Wrong values derived from the types of fields and flags: each is refused by the whole name of its field."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.cli.registry import COMMANDS, command_class
from robust_tickets.recipe import schema
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.recipe import Recipe


def leaves(cls: type, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every field that is no dataclass of fields: its path and its type."""
    for name, hint in get_type_hints(cls, include_extras=True).items():
        if dataclasses.is_dataclass(hint) and hint is not Eps:
            assert isinstance(hint, type)
            yield from leaves(hint, f"{path}{name}.")
        else:
            yield f"{path}{name}", hint


FIELDS = dict(leaves(Recipe))
VALUES = (True, 3, 1.5, "", [], [3], {"x": 1}, b"x", object())
ACCEPTED: dict[type, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str,),
    Path: (str,),
    Eps: (str, int, float),
}


def bare(hint: Any) -> Any:
    """A type without its bounds and without None."""
    if get_origin(hint) is Annotated:
        return bare(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return bare(next(option for option in get_args(hint) if option is not type(None)))
    return hint


def bounds_of(hint: Any) -> schema.Range | None:
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((extra for extra in extras if isinstance(extra, schema.Range)), None)


def wrong_types(hint: Any) -> list[object]:
    """Values that a type refuses; of numbers any may be out of range, so that none of those counts."""
    hint = bare(hint)
    if get_origin(hint) is tuple:
        return [value for value in VALUES if not isinstance(value, list) or not value]
    if get_origin(hint) is Literal:
        return [*VALUES, "no such word"]
    return [value for value in VALUES if type(value) not in ACCEPTED[hint]]


def outside(hint: Any, bounds: schema.Range) -> list[float]:
    """The numbers just out of range, and those that no range admits."""
    kind, step = (int, 1) if bare(hint) is int else (float, 1e-9)
    edges = [bounds.above, bounds.below, bounds.least - step, bounds.most + step]
    numbers = [kind(edge) for edge in edges if math.isfinite(edge)]
    return [*numbers, *([] if kind is int else [math.nan, math.inf, -math.inf])]


def refusal(path: str, value: object, cls: type = Recipe) -> str:
    table = value
    for key in reversed(path.split(".")):
        table = {key: table}
    with pytest.raises(InputError) as error:
        schema.read(cls, table)
    return str(error.value)


@pytest.mark.parametrize("path", FIELDS)
def test_a_value_of_another_type_is_refused(path: str) -> None:
    values = wrong_types(FIELDS[path])
    assert values
    for value in values:
        message = refusal(path, value)
        assert path in message
        assert "<class" not in message


@pytest.mark.parametrize("path", [path for path, hint in FIELDS.items() if bounds_of(hint)])
def test_a_number_out_of_range_is_refused(path: str) -> None:
    bounds = bounds_of(FIELDS[path])
    assert bounds is not None
    for value in outside(FIELDS[path], bounds):
        assert f"{path} must be {bounds}" in refusal(path, value)


@pytest.mark.parametrize("path", [path for path, hint in FIELDS.items() if get_origin(bare(hint)) is Literal])
def test_an_unknown_word_is_answered_with_the_nearest(path: str) -> None:
    for word in get_args(bare(FIELDS[path])):
        if isinstance(word, str):
            message = refusal(path, f"{word}x")
            assert path in message
            assert repr(word) in message


@pytest.mark.parametrize("path", FIELDS)
def test_an_unknown_field_is_answered_with_the_nearest(path: str) -> None:
    message = refusal(f"{path}x", 1)
    assert repr(f"{path}x") in message
    assert repr(path.rpartition(".")[2]) in message


@pytest.mark.parametrize("name", COMMANDS)
def test_a_flag_of_a_command_out_of_range_is_refused(name: str) -> None:
    cls = command_class(name)
    for path, hint in leaves(cls):
        bounds = bounds_of(hint)
        if bounds and not path.startswith("fields."):
            for value in outside(hint, bounds):
                assert f"{path} must be at " in refusal(path, value, cls)
