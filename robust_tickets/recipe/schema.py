"""Reads dataclasses from plain tables and writes them; each message names the field by its whole path."""

import dataclasses
import math
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from robust_tickets.base.errors import InputError, unknown_name
from robust_tickets.base.paths import expand_home
from robust_tickets.recipe import old_names
from robust_tickets.recipe.arm_settings import ArmSettings
from robust_tickets.recipe.budget import Budget
from robust_tickets.recipe.eps import Eps

T = TypeVar("T")

TEXT_TYPES: dict[type, str] = {
    Eps: "a number such as '8/255' or 0.03",
    Budget: "an amount with its unit such as '30min' or '2e6passes'",
}
"""Types of values that are recorded as the user writes them, and what they look like."""


@dataclass(frozen=True)
class Range:
    """Bounds of a number: `least` and `most` are allowed themselves, `above` and `below` are not."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def admits(self, value: float) -> bool:
        """Whether a value is within the bounds; NaN and infinity never are."""
        return math.isfinite(value) and self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        words = {"least": "at least", "most": "at most", "above": "above", "below": "below"}
        bounds = ((word, getattr(self, name)) for name, word in words.items())
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if math.isfinite(bound))


@dataclass(frozen=True)
class OneOf:
    """The names that a text may be, asked for when it is checked, as tables of names can grow.

    admits: whether a text is one, where there are others than the `names` that a message lists.
    """

    names: Callable[[], Iterable[str]]
    admits: Callable[[object], bool] | None = None


Count = Annotated[int, Range(least=1)]
CountOrZero = Annotated[int, Range(least=0)]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(above=0, below=1)]
ShareOrZero = Annotated[float, Range(least=0, below=1)]


def read(cls: type[T], table: object, base: T | None = None, path: str = "") -> T:
    """Read a dataclass from a table of plain values.

    base: gives the fields that the table lacks; None: the defaults do.
    path: the table's place in the whole, for messages: `search` for `search.lr`.
    Raises InputError for an unknown or missing field, or a value of the wrong type or out of range.
    """
    if not isinstance(table, dict):
        raise InputError(f"{path or 'the recipe'} must be a table of fields, got {table!r:.80}")
    hints = get_type_hints(cls, include_extras=True)
    values: dict[str, Any] = {}
    for key, value in table.items():
        field = f"{path}.{key}" if path else str(key)
        if key not in hints:
            if field in old_names.FIELDS:
                raise InputError(f"unknown field {field!r}: it is now called {old_names.FIELDS[field]!r}")
            if field in old_names.REASONS:
                raise InputError(f"unknown field {field!r}: {old_names.REASONS[field]}")
            raise unknown_name("field", key, hints, path=field)
        nested = getattr(base, key) if base is not None else None
        values[key] = _convert(hints[key], value, field, nested)
    if base is not None:
        return dataclasses.replace(base, **values)  # type: ignore[type-var]
    missing = [
        f.name
        for f in dataclasses.fields(cls)  # type: ignore[arg-type]
        if f.name not in values and f.default is f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{path or 'the recipe'} lacks the field {missing[0]!r}: add it")
    return cls(**values)


def check(instance: object, path: str = "") -> None:
    """Raise InputError for the first field with a value of the wrong type or out of range."""
    for key, hint in get_type_hints(type(instance), include_extras=True).items():
        field = f"{path}.{key}" if path else key
        value = getattr(instance, key)
        if dataclasses.is_dataclass(value) and not isinstance(value, tuple(TEXT_TYPES)):
            check(value, field)
        elif value != () or getattr(type(instance), key, None) != ():  # a default stands
            _convert(hint, value, field, None)


def plain(instance: object) -> Any:
    """The nested table of plain values (str, int, float, bool, list, dict) of a dataclass.

    Fields that are None are left out, since TOML cannot express None.
    """
    if isinstance(instance, (Eps, Budget)):
        return instance.text
    if isinstance(instance, Path):
        return str(instance)
    if isinstance(instance, ArmSettings):
        return instance.tables
    if isinstance(instance, tuple):
        return [plain(item) for item in instance]
    if dataclasses.is_dataclass(instance):
        fields = ((f.name, getattr(instance, f.name)) for f in dataclasses.fields(instance))
        return {name: plain(value) for name, value in fields if value is not None}
    return instance


def is_readable(hint: Any) -> bool:
    """Whether a field may have a type: a table of fields, a value, a tuple of values, or None for those."""
    origin, parts = get_origin(hint), [part for part in get_args(hint) if part is not type(None)]
    if origin is Annotated:
        return is_readable(parts[0])
    if origin in (Union, types.UnionType):
        return len(parts) == 1 and is_readable(parts[0]) and not is_table(parts[0])
    if origin is tuple:
        return parts[1:] == [...] and is_readable(parts[0]) and not is_table(parts[0])
    return origin is Literal or hint in (*_WORDS, *TEXT_TYPES) or is_table(hint)


def is_table(hint: Any) -> bool:
    """Whether a type is a dataclass of fields, which is a table in files."""
    return isinstance(hint, type) and dataclasses.is_dataclass(hint) and hint not in TEXT_TYPES


def _convert(hint: Any, value: Any, field: str, base: Any) -> Any:
    bounds = None
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        bounds = next((e for e in extras if isinstance(e, Range)), None)
        words = next((e for e in extras if isinstance(e, OneOf)), None)
        if words is not None and not (words.admits(value) if words.admits else value in words.names()):
            raise unknown_name(f"value for {field}:", value, words.names())
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _convert(next(a for a in get_args(hint) if a is not type(None)), value, field, base)
    if origin is Literal:
        if (type(value), value) not in ((type(choice), choice) for choice in get_args(hint)):  # 8.0 is not 8
            new = old_names.VALUES.get((field.rpartition(".")[2], str(value)))
            if new is not None:
                raise InputError(f"unknown value for {field}: {value!r} is now called {new!r}")
            raise unknown_name(f"value for {field}:", value, map(str, get_args(hint)))
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)) or not value:
            raise InputError(f"{field} must be a list with at least one value, got {value!r:.80}")
        return tuple(_convert(get_args(hint)[0], item, field, None) for item in value)
    if hint is ArmSettings:
        return value if isinstance(value, ArmSettings) else ArmSettings(value, field)
    if hint in TEXT_TYPES:
        return value if isinstance(value, hint) else _from_text(hint, value, field)
    if dataclasses.is_dataclass(hint):
        return read(hint, value, base, field)  # type: ignore[arg-type]
    if hint is Path and isinstance(value, (str, Path)):
        return expand_home(value)
    if hint in (int, float) and type(value) is int and abs(value) > _LARGEST:
        raise InputError(
            f"{field} must be at most {_LARGEST} in size, got a number of {len(str(value))} digits"
        )
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint:
        raise InputError(f"{field} must be {_WORDS.get(hint, hint)}, got {value!r:.80}")
    if bounds is not None and not bounds.admits(value):
        finite = "" if math.isfinite(value) else " and finite"
        raise InputError(f"{field} must be {bounds}{finite}, got {value!r:.80}")
    return value


def _from_text(kind: Any, value: object, field: str) -> Any:
    """A value of one of the `TEXT_TYPES`; a number counts as its text."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError(f"{field} must be {TEXT_TYPES[kind]}, got {value!r:.80}")
    try:
        return kind(str(value))
    except InputError as error:
        raise InputError(f"{field}: {error}") from None


_LARGEST = 2**31 - 1  # the largest that C libraries take

_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text in quotes",
    Path: "a path in quotes",
}
