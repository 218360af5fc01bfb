"""The commands: one line each, imported when it is called."""

import importlib
from typing import Any

from robust_tickets.base.errors import unknown_name
from robust_tickets.cli.command import Command
from robust_tickets.cli.flags import Section, command_sections

COMMANDS = {
    "search": "robust_tickets.cli.search:Search",
    "train": "robust_tickets.cli.train:Train",
    "evaluate": "robust_tickets.cli.evaluate:Evaluate",
    "compare": "robust_tickets.cli.compare:Compare",
    "study": "robust_tickets.cli.study:Study",
    "tune": "robust_tickets.cli.tune:Tune",
    "strong": "robust_tickets.cli.strong:Strong",
    "switch": "robust_tickets.cli.switch:Switch",
    "recipes": "robust_tickets.cli.recipes:Recipes",
    "recipes show": "robust_tickets.cli.recipes:RecipesShow",
    "table": "robust_tickets.cli.table:Table",
    "report": "robust_tickets.cli.report:Report",
    "frontier": "robust_tickets.cli.frontier:Frontier",
    "watch": "robust_tickets.cli.watch:Watch",
    "export": "robust_tickets.cli.export:Export",
    "ticket show": "robust_tickets.cli.tickets:TicketShow",
    "ticket card": "robust_tickets.cli.card:TicketCard",
    "ticket diff": "robust_tickets.cli.tickets:TicketDiff",
    "ticket rounds": "robust_tickets.cli.tickets:TicketRounds",
    "ticket export": "robust_tickets.cli.tickets:TicketExport",
    "ticket stretch": "robust_tickets.cli.tickets:TicketStretch",
    "ticket squeeze": "robust_tickets.cli.tickets:TicketSqueeze",
    "ticket stability": "robust_tickets.cli.stability:TicketStability",
    "ticket verify": "robust_tickets.cli.tickets:TicketVerify",
    "data show": "robust_tickets.cli.data:DataShow",
    "runs list": "robust_tickets.cli.runs:RunsList",
    "runs merge": "robust_tickets.cli.runs:RunsMerge",
    "runs rm": "robust_tickets.cli.runs:RunsRm",
    "cache clear": "robust_tickets.cli.cache:CacheClear",
}


def command_class(name: str) -> type[Command]:
    """The class of a command."""
    module, _, attribute = COMMANDS[name].partition(":")
    cls: type[Command] = getattr(importlib.import_module(module), attribute)
    return cls


def flag_sections(name: str, defaults: Any = None) -> list[Section]:
    """The flags of a command by section; the grids of studies are for `study` alone.

    defaults: an instance of the command whose values are shown; None: those of its class.
    """
    sections = command_sections(command_class(name), defaults)
    return [section for section in sections if section.name != "study" or name == "study"]


def is_family(word: str) -> bool:
    """Whether commands of two words begin with this one, which is none, as `runs list` with `runs`."""
    return word not in COMMANDS and any(name.startswith(f"{word} ") for name in COMMANDS)


def split_name(words: list[str]) -> tuple[str, list[str]]:
    """The command's name, of one word or two, and the flags that follow it.

    Raises InputError for an unknown one.
    """
    count = 2 if is_family(words[0]) or " ".join(words[:2]) in COMMANDS else 1
    name = " ".join(words[:count])
    if name not in COMMANDS:
        names = [known for known in COMMANDS if count == 1 or known.startswith(f"{words[0]} ")]
        raise unknown_name("command", name, names)
    return name, words[count:]
