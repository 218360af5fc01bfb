"""The commands: one line each, imported when it is called."""

import importlib

from robust_tickets.base.errors import InputError, unknown_name
from robust_tickets.cli.command import Command

COMMANDS = {
    "search": "robust_tickets.cli.search:Search",
    "train": "robust_tickets.cli.train:Train",
    "evaluate": "robust_tickets.cli.evaluate:Evaluate",
    "compare": "robust_tickets.cli.compare:Compare",
    "study": "robust_tickets.cli.study:Study",
    "recipes": "robust_tickets.cli.recipes:Recipes",
    "table": "robust_tickets.cli.table:Table",
    "export": "robust_tickets.cli.export:Export",
    "ticket show": "robust_tickets.cli.tickets:TicketShow",
    "ticket diff": "robust_tickets.cli.tickets:TicketDiff",
    "ticket export": "robust_tickets.cli.tickets:TicketExport",
    "ticket verify": "robust_tickets.cli.tickets:TicketVerify",
    "runs list": "robust_tickets.cli.runs:RunsList",
    "runs rm": "robust_tickets.cli.runs:RunsRm",
    "cache clear": "robust_tickets.cli.cache:CacheClear",
}


def command_class(name: str) -> type[Command]:
    """The class of a command."""
    module, _, attribute = COMMANDS[name].partition(":")
    found: type[Command] = getattr(importlib.import_module(module), attribute)
    return found


def split_name(words: list[str]) -> tuple[str, list[str]]:
    """The command's name, of one word or two, and the flags that follow it.

    Raises InputError for an unknown one.
    """
    pair = " ".join(words[:2])
    if pair in COMMANDS:
        return pair, words[2:]
    seconds = [name.split()[1] for name in COMMANDS if name.startswith(f"{words[0]} ")]
    if seconds:
        if words[1:] and not words[1].startswith("-"):
            raise unknown_name("command", words[1], seconds, path=pair)
        raise InputError(f"{words[0]} needs to know what to do: {', '.join(seconds)}")
    if words[0] not in COMMANDS:
        raise unknown_name("command", words[0], COMMANDS)
    return words[0], words[1:]
