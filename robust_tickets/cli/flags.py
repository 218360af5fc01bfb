"""The flags of a command, read from its fields: names, values, help and defaults."""

import dataclasses
import inspect
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tyro.conf import Fixed, Positional

from robust_tickets.cli.input_file import InputFile
from robust_tickets.recipe.budget import Budget
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.field_help import arg_setting, field_help
from robust_tickets.recipe.schema import TEXT_TYPES

_POSITIONAL = get_args(Positional[str])[1]
_FIXED = get_args(Fixed[str])[1]
_METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH", InputFile: "FILE", Eps: "EPS", Budget: "BUDGET"}

RECIPE = "recipe"
"""Name of the section of the recipe's fields that are in no section of their own."""


@dataclass(frozen=True)
class Flag:
    """A flag of a command; or a positional argument, whose name is in capitals."""

    name: str
    metavar: str
    help: str
    default: str
    required: bool
    aliases: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Every spelling: aliases, and the opposite of a switch."""
        if self.metavar or not self.name.startswith("--"):
            return (self.name, *self.aliases)
        return (self.name, opposite(self.name))


@dataclass(frozen=True)
class Section:
    """The flags that begin alike, such as `--search.lr`; a command's own flags have the name ""."""

    name: str
    help: str
    flags: tuple[Flag, ...]


def command_sections(cls: type, defaults: Any = None) -> list[Section]:
    """All flags of a command: its own, then section by section, those of its recipe among them.

    defaults: an instance whose values are shown as defaults, such as those of a recipe; None: the class's.
    """
    own, nested = [], []
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        value = _default(field, defaults)
        if field.name == "fields":  # the recipe, whose fields have no prefix
            top, *rest = command_sections(hints[field.name], value)
            nested += [dataclasses.replace(top, name=RECIPE), *rest]
        elif is_section(hints[field.name]):
            name = _hyphens(field.name)
            nested.append(Section(name, _first_paragraph(type(value)), tuple(_flags(value, f"{name}."))))
        elif _FIXED not in getattr(_hints(cls)[field.name], "__metadata__", ()):  # those are for files alone
            own.append(field.name)
    flags = [_flag(cls, name, "", defaults) for name in own]
    return [Section("", _first_paragraph(cls), tuple(flags)), *nested]


def is_section(hint: Any) -> bool:
    """Whether a field's type is a dataclass, whose fields are flags of their own."""
    return dataclasses.is_dataclass(_plain(hint)) and _plain(hint) not in TEXT_TYPES


def is_positional(hint: Any) -> bool:
    """Whether a field is given as a word without a flag; the type with its annotations."""
    return _POSITIONAL in getattr(hint, "__metadata__", ())


def opposite(switch: str) -> str:
    """The flag that turns a switch off: --a.no-b of --a.b."""
    head, dot, last = switch.removeprefix("--").rpartition(".")
    return f"--{head}{dot}no-{last}"


def _flags(values: Any, prefix: str) -> Iterator[Flag]:
    """The flags of a section; those of a section within it, such as a training method's settings, too."""
    cls = type(values)
    for name, hint in get_type_hints(cls).items():
        if is_section(hint):
            yield from _flags(getattr(values, name), f"{prefix}{_hyphens(name)}.")
        else:
            yield _flag(cls, name, prefix, values)


def _flag(cls: type, name: str, prefix: str, defaults: Any) -> Flag:
    hint = _hints(cls)[name]
    value = _default(next(field for field in dataclasses.fields(cls) if field.name == name), defaults)
    metavar = arg_setting(hint, "metavar") or _metavar(hint)
    if is_positional(hint):
        spelling, metavar = arg_setting(hint, "metavar") or name.upper(), ""
    else:
        spelling = f"--{prefix}{_hyphens(arg_setting(hint, 'name') or name)}"
    default = _text(value)
    if value is True:
        default += f"; off: {opposite(spelling)}"
    return Flag(
        spelling,
        metavar,
        field_help(cls).get(name, ""),
        default,
        value is dataclasses.MISSING,
        tuple(arg_setting(hint, "aliases") or ()),
    )


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _default(field: dataclasses.Field[Any], defaults: Any) -> Any:
    if defaults is not None:
        return getattr(defaults, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _plain(hint: Any) -> Any:
    """A type without annotations and without None."""
    while hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    if get_origin(hint) in (Union, types.UnionType):
        return _plain(next(part for part in get_args(hint) if part is not type(None)))
    return hint


def _metavar(hint: Any) -> str:
    hint = _plain(hint)
    if hint is bool:
        return ""
    if get_origin(hint) is tuple:
        return f"{_metavar(get_args(hint)[0])}..."
    if get_origin(hint) is Literal:
        return "{" + ",".join(map(str, get_args(hint))) + "}"
    return _METAVARS[hint]


def _text(value: Any) -> str:
    """A value as it is written on the command line; empty for none."""
    if value is dataclasses.MISSING or value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _hyphens(name: str) -> str:
    return name.replace("_", "-")


def _first_paragraph(cls: type) -> str:
    return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
