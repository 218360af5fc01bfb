"""A command is one class and one line."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from robust_tickets.cli.command import Command, command
from robust_tickets.cli.main import main
from robust_tickets.cli.registry import COMMANDS


@command
class Greet(Command):
    """Greet somebody. Writes nothing."""

    whom: str = "you"
    """who is greeted"""

    def run(self) -> None:
        """Print the greeting."""
        print(f"hello, {self.whom}")


def test_a_command_is_added_by_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "made_up", SimpleNamespace(Greet=Greet))
    monkeypatch.setitem(COMMANDS, "greet", "made_up:Greet")
    for words, line in (
        ("greet --whom world", "hello, world"),
        ("--help", "  greet +Greet somebody"),
        ("greet --help", "  --whom TEXT +who is greeted [(]default: you[)]"),
    ):
        main(words.split())
        assert re.search(rf"^{line}$", capsys.readouterr().out, re.MULTILINE)


def _without_docstring() -> None:
    @command
    class Mute(Command):
        def run(self) -> None:
            """Do nothing."""


def _without_run() -> None:
    @command
    class Idle(Command):
        """Idle."""


def _without_help() -> None:
    @command
    class Odd(Command):
        """Odd."""

        number: int = 1

        def run(self) -> None:
            """Do nothing."""


@pytest.mark.parametrize(
    ("make", "lacks"),
    [(_without_docstring, "docstring"), (_without_run, r"run\(\)"), (_without_help, "number")],
)
def test_a_command_that_lacks_a_part_is_refused_at_import(make, lacks):
    with pytest.raises(TypeError, match=lacks):
        make()


def test_a_module_of_the_command_line_is_a_command_or_serves_them():
    folder = Path(sys.modules["robust_tickets.cli.main"].__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    commands = {target.partition(":")[0].rpartition(".")[2] for target in COMMANDS.values()}
    assert modules - commands == {
        "command",
        "flags",
        "help",
        "input_file",
        "main",
        "parse",
        "registry",
        "user_net",
    }
