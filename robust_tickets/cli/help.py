"""Help: the overview of the commands, and the flags of one, from the dataclasses alone."""

import dataclasses
import shutil
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from robust_tickets.base.errors import unknown_name
from robust_tickets.cli.command import field_help, is_section
from robust_tickets.cli.registry import COMMANDS, command_class
from robust_tickets.recipe.eps import Eps

_MOST = 120
"""Columns of the widest help."""


def overview() -> str:
    """Every command with the first sentence of its help."""
    width = max(map(len, COMMANDS))
    lines = (
        f"  {name:<{width}} {(command_class(name).__doc__ or '').split('. ')[0].rstrip('.')}"
        for name in COMMANDS
    )
    return "\n".join(
        [
            "usage: robust-tickets COMMAND [OPTIONS]",
            "",
            "Find boosting tickets by adversarial training and pruning, reuse them, compare them with dense.",
            "",
            *lines,
            "",
            "  robust-tickets COMMAND --help   all flags of a command, with defaults and units",
            "  robust-tickets --version        the version",
            "",
            "Start with: robust-tickets compare --recipe demo",
        ]
    )


def command_help(name: str, section: str = "", defaults: Any = None) -> str:
    """The flags of a command.

    section: one of its sections of recipe fields, "all" for every one, or "" for a line each.
    defaults: an instance of the command whose values are shown, such as those of a recipe.
    Raises InputError for an unknown section.
    """
    cls = command_class(name)
    width = min(shutil.get_terminal_size().columns, _MOST)
    flags = sorted(_flags(cls, "", defaults), key=lambda flag: flag[2] != "required")
    sections = [(item, value) for item, value in _sections(cls, defaults) if _offers(name, item)]
    names = [item for item, _, _ in map(_named, sections)]
    if section and section not in (*names, "all"):
        raise unknown_name("section", section, [*names, "all"])
    positional = " ".join(flag for flag, *_ in flags if not flag.startswith("-"))
    lines = [f"usage: robust-tickets {name} {positional}".rstrip() + " [OPTIONS]"]
    lines += [""] if section in ("", "all") else []
    paragraphs = (cls.__doc__ or "").strip().split("\n\n")
    for paragraph in [] if section not in ("", "all") else paragraphs:
        lines += [*textwrap.wrap(" ".join(paragraph.split()), width), ""]
    if section in ("", "all"):
        lines += [*_table(flags, width), *_table([("--help [SECTION|all]", "this help", "")], width)]
    long = [item for item in map(_named, sections) if _is_long(name)]
    for item, hint, value in map(_named, sections):
        if section in (item, "all") or (not section and not long):
            heading = textwrap.wrap(f"--{item}.*  {_first_line(hint)}", width, subsequent_indent="    ")
            lines += ["", *heading, *_table(_flags(hint, f"{item}.", value), width)]
    if long and not section:
        lines += ["", f"fields of the recipe (robust-tickets {name} --help SECTION lists their flags):"]
        lines += _table([(f"--{item}.*", _first_line(hint), "") for item, hint, _ in long], width)
    return "\n".join(lines)


def _is_long(name: str) -> bool:
    return any(item.name == "recipe" for item in dataclasses.fields(command_class(name)))  # type: ignore[arg-type]


def _offers(name: str, item: dataclasses.Field[Any]) -> bool:
    """Whether a command has a section: the grids of studies are for `study` alone."""
    return item.name != "study" or name == "study"


def _sections(cls: type, defaults: Any) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """The fields of a command, or of its recipe, that are dataclasses, with their values."""
    hints = get_type_hints(cls)
    for item in dataclasses.fields(cls):
        value = _value(item, defaults)
        if item.name == "fields":
            yield from _sections(hints[item.name], value)
        elif is_section(hints[item.name]):
            yield item, value


def _named(section: tuple[dataclasses.Field[Any], Any]) -> tuple[str, type, Any]:
    item, value = section
    return item.name.replace("_", "-"), type(value), value


def _flags(cls: type, prefix: str, defaults: Any) -> Iterator[tuple[str, str, str]]:
    """Flag with its metavar, help and default of every field that is no section of the command."""
    hints, texts = get_type_hints(cls, include_extras=True), field_help(cls)
    for item in dataclasses.fields(cls):
        hint, value = hints[item.name], _value(item, defaults)
        if item.name == "fields":
            yield from _flags(type(value), "", value)
        elif is_section(hint):
            if prefix:  # a section of a section, such as the settings of a training method
                yield from _flags(type(value), f"{prefix}{item.name}.", value)
        else:
            flag, metavar = _spelling(item.name, hint, prefix)
            default = _shown(value)
            if value is True:
                default += f"; off: --{prefix}no-{item.name}".replace("_", "-")
            text = texts.get(item.name) or _composed_help(hint)
            yield f"{flag} {metavar}".rstrip(), text, default


def _spelling(name: str, hint: Any, prefix: str) -> tuple[str, str]:
    """A field's flag and the metavar of its value; a positional's own name in capitals."""
    settings = list(getattr(hint, "__metadata__", ()))
    metavar = next((s.metavar for s in settings if getattr(s, "metavar", None)), None)
    own = next((s.name for s in settings if getattr(s, "name", None) and hasattr(s, "metavar")), None)
    if any("Positional" in repr(extra) for extra in settings):
        return metavar or name.upper(), ""
    flag = f"--{prefix}{own or name}".replace("_", "-")
    if _plain(hint) is bool:
        return flag, ""
    return flag, metavar or _metavar(hint)


def _composed_help(hint: Any) -> str:
    """The help of a field whose class is composed from others and has no text under it."""
    return next((part.help for part in getattr(hint, "__metadata__", ()) if getattr(part, "help", None)), "")


def _plain(hint: Any) -> Any:
    """A type without annotations and without None."""
    while hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    if get_origin(hint) in (Union, types.UnionType):
        return _plain(next(part for part in get_args(hint) if part is not type(None)))
    return hint


def _metavar(hint: Any) -> str:
    hint = _plain(hint)
    if get_origin(hint) is tuple:
        return f"{_metavar(get_args(hint)[0])}..."
    if get_origin(hint) is Literal:
        return "{" + ",".join(map(str, get_args(hint))) + "}"
    return {int: "N", float: "X", str: "TEXT", Path: "PATH", Eps: "EPS"}.get(hint, "VALUE")


def _value(item: dataclasses.Field[Any], defaults: Any) -> Any:
    if defaults is not None:
        return getattr(defaults, item.name)
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return item.default


def _shown(value: Any) -> str:
    """A default as it is written on the command line."""
    if value is dataclasses.MISSING:
        return "required"
    if value is None or value == "":
        return ""
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _first_line(cls: type) -> str:
    return " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())


def _table(rows: Any, width: int) -> list[str]:
    """Flags, each with its help and default; the help beside short flags, and below long ones."""
    column = 30 if width >= 100 else 26
    lines = []
    for flag, text, default in rows:
        text = f"{text} (default: {default})" if default and default != "required" else text
        text = f"{text} (required)" if default == "required" and flag.startswith("-") else text
        wrapped = textwrap.wrap(text, width - column, break_on_hyphens=False) or [""]
        head = f"  {flag}"
        if len(head) > column - 2:
            lines.append(head)
            lines += [" " * column + line for line in wrapped]
        else:
            lines.append(f"{head:<{column}}{wrapped[0]}".rstrip())
            lines += [" " * column + line for line in wrapped[1:]]
    return lines
