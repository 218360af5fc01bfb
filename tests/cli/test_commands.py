"""A command is one class and one line; its help is complete, short, and free of torch."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from robust_tickets.cli.command import Command, command, field_help, is_section
from robust_tickets.cli.help import command_help
from robust_tickets.cli.main import main
from robust_tickets.cli.registry import COMMANDS, command_class
from robust_tickets.recipe.recipe import Recipe

BY_RECIPE = ("search", "train", "compare", "study")


@command
class Greet(Command):
    """Greet somebody. Writes nothing."""

    whom: str = "you"
    """who is greeted"""

    def run(self) -> None:
        """Print the greeting."""
        print(f"hello, {self.whom}")


def test_a_command_is_added_by_one_line(monkeypatch, capsys):
    monkeypatch.setitem(COMMANDS, "greet", f"{__name__}:Greet")
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or type(sys)(__name__))
    monkeypatch.setattr(sys.modules[__name__], "Greet", Greet, raising=False)
    main(["greet", "--whom", "world"])
    assert capsys.readouterr().out == "hello, world\n"
    main(["--help"])
    assert re.search(r"^ +greet +Greet somebody$", capsys.readouterr().out, re.MULTILINE)
    main(["greet", "--help"])
    assert "who is greeted (default: you)" in capsys.readouterr().out


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
def test_a_command_that_lacks_a_part_is_refused_when_it_is_made(make, lacks):
    with pytest.raises(TypeError, match=lacks):
        make()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_of_a_command_has_help(name):
    _check_help(command_class(name))


def _check_help(cls: type) -> None:
    texts = field_help(cls)
    for field, hint in get_type_hints(cls).items():
        if is_section(hint):
            if cls is not Recipe or field != "study":
                _check_help(hint)
        else:
            assert texts.get(field), f"{cls.__name__}.{field}"


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_help_is_short_and_fills_its_lines(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in COMMANDS:
        lines = command_help(name, "all").splitlines()
        words = max(len(word) for line in lines for word in line.split())
        assert max(map(len, lines)) <= max(min(columns, 120), words + 30)
    assert len(command_help("compare").splitlines()) < 150
    text = command_help("compare", "search")
    assert "--search.lr X" in text
    assert "--train.lr" not in text


@pytest.mark.parametrize("name", BY_RECIPE)
def test_grids_are_flags_of_study_alone(name):
    assert ("--study.lr" in command_help(name, "all")) == (name == "study")


@pytest.mark.parametrize("given", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}], ids=str)
def test_idle_threads_are_bounded_before_torch_is_there(given, tmp_path):
    code = (
        "import os, sys; from robust_tickets.cli.main import bound_spinning; bound_spinning(); "
        "print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    )
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    environment = {key: value for key, value in os.environ.items() if key not in names} | given
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=tmp_path,
    )
    bound = given.get("GOMP_SPINCOUNT", None if given else "10000")
    assert done.stdout.split() == [str(bound), "False"]


def test_every_module_of_the_command_line_is_a_command_or_serves_them():
    folder = Path(sys.modules["robust_tickets.cli.main"].__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    commands = {target.partition(":")[0].rpartition(".")[2] for target in COMMANDS.values()}
    assert modules - commands == {"command", "help", "main", "registry", "user_net"}
