"""Help: the overview of the commands, and the flags of one."""

import inspect
import shutil
import textwrap
from collections.abc import Iterable
from typing import Any

from robust_tickets.base.errors import unknown_name
from robust_tickets.cli.flags import RECIPE, Flag, Section
from robust_tickets.cli.registry import COMMANDS, command_class, flag_sections

_MIN_COLUMNS, _MAX_COLUMNS = 50, 120  # narrower, no word of a help text would fit beside its flag


def overview(family: str = "") -> str:
    """The commands, or those that begin with one word, each with the first sentence of its help."""
    columns = _columns()
    names = [name for name in COMMANDS if not family or name.startswith(f"{family} ")]
    commands = _table([(name, _summary(name)) for name in names], columns, indent=18)
    if family:
        return "\n".join([f"usage: robust-tickets {family} COMMAND [OPTIONS]", "", *commands])
    about = (
        "Find boosting tickets by adversarial training and pruning, reuse them, and compare them honestly."
    )
    more = [
        ("COMMAND --help", "the flags of a command, with defaults and units"),
        ("--version", "the version"),
    ]
    return "\n".join(
        [
            "usage: robust-tickets COMMAND [OPTIONS]",
            "",
            *_wrap(about, columns),
            "",
            *commands,
            "",
            *_table([(f"robust-tickets {words}", text) for words, text in more], columns, indent=35),
            "",
            "Start with: robust-tickets compare --recipe demo",
        ]
    )


def command_help(name: str, section: str = "", defaults: Any = None) -> str:
    """The help of a command: its own flags, and a line for each section of recipe fields.

    section: a section whose flags are listed instead, or "all" for every flag.
    defaults: an instance of the command whose values are shown, such as those of a recipe.
    Raises InputError for an unknown section.
    """
    own, *sections = flag_sections(name, defaults)
    names = [item.name for item in sections]
    if section and section not in (*names, "all"):
        raise unknown_name("section", section, [*names, "all"])
    columns = _columns()
    words = [flag.name for flag in own.flags if not flag.name.startswith("--")]
    lines = [" ".join(["usage: robust-tickets", name, *words, "[OPTIONS]"])]
    if section not in ("", "all"):
        return "\n".join([*lines, *_section(sections[names.index(section)], columns)])
    for paragraph in inspect.cleandoc(command_class(name).__doc__ or "").split("\n\n"):
        lines += ["", *_wrap(paragraph, columns)]
    own_rows = [*_rows(own), (f"--help{' [SECTION|all]' if RECIPE in names else ''}", "this help")]
    lines += ["", *_table(own_rows, columns)]
    if section == "all" or RECIPE not in names:
        lines += [line for item in sections for line in _section(item, columns)]
    else:
        lines += ["", f"fields of the recipe (robust-tickets {name} --help SECTION lists their flags):"]
        rows = [
            row
            for item in sections
            for row in (_rows(item) if item.name == RECIPE else [(f"--{item.name}.*", item.help)])
        ]
        lines += _table(rows, columns)
    return "\n".join(lines)


def _section(section: Section, columns: int) -> list[str]:
    heading = section.help if section.name == RECIPE else f"--{section.name}.*  {section.help}"
    return ["", *_wrap(heading, columns, indent=4), *_table(_rows(section), columns)]


def _rows(section: Section) -> list[tuple[str, str]]:
    """A section's flags with what follows them, required ones first, and their help."""
    flags = sorted(section.flags, key=lambda flag: not flag.required)
    return [(f"{flag.name} {flag.metavar}".rstrip(), _help(flag)) for flag in flags]


def _help(flag: Flag) -> str:
    if flag.required and flag.name.startswith("--"):
        return f"{flag.help} (required)"
    return f"{flag.help} (default: {flag.default})" if flag.default else flag.help


def _table(rows: Iterable[tuple[str, str]], columns: int, indent: int = 0) -> list[str]:
    """Rows of two columns; a text stands beside a short name, and below a long one."""
    indent = indent or (30 if columns >= 100 else 26)
    lines = []
    for name, text in rows:
        texts = _wrap(text, columns - indent)
        if len(name) > indent - 4:
            lines.append(f"  {name}")
        else:
            lines.append(f"  {name:<{indent - 2}}{texts.pop(0)}")
        lines += [" " * indent + line for line in texts]
    return lines


def _wrap(text: str, columns: int, indent: int = 0) -> list[str]:
    text = " ".join(text.split())
    return textwrap.wrap(text, columns, subsequent_indent=" " * indent, break_on_hyphens=False) or [""]


def _summary(name: str) -> str:
    return " ".join((command_class(name).__doc__ or "").split()).split(". ")[0].rstrip(".")


def _columns() -> int:
    return max(_MIN_COLUMNS, min(shutil.get_terminal_size().columns, _MAX_COLUMNS))
