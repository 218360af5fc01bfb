"""Help is complete, short, and has no broken lines."""

import re
import subprocess
import sys
from itertools import pairwise

import pytest
import tyro

from robust_tickets.cli.command import ByRecipe
from robust_tickets.cli.flags import opposite
from robust_tickets.cli.help import command_help, overview
from robust_tickets.cli.main import main
from robust_tickets.cli.parse import CONSTRUCTORS
from robust_tickets.cli.registry import COMMANDS, command_class, flag_sections
from robust_tickets.recipe.studies import STUDIES

BY_RECIPE = [name for name in COMMANDS if issubclass(command_class(name), ByRecipe)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_has_help(name):
    flags = [flag for section in flag_sections(name) for flag in section.flags]
    assert not [flag.name for flag in flags if not flag.help]


@pytest.mark.filterwarnings("ignore:get_parser")
@pytest.mark.parametrize("name", COMMANDS)
def test_help_lists_the_flags_that_are_parsed(name):
    parser = tyro.extras.get_parser(command_class(name), add_help=False, registry=CONSTRUCTORS)
    parsed = {option for action in parser._actions for option in action.option_strings}
    listed = {
        spelling
        for section in flag_sections(name)
        for flag in section.flags
        for spelling in flag.names
        if spelling.startswith("--")
    }
    hidden = {option for option in parsed if option.startswith("--study.") and name != "study"}
    hidden |= {"--arms", "--tuned"}  # fixed: for recipe files alone
    assert listed == parsed - hidden
    text = command_help(name, "all")
    for flag in (flag for section in flag_sections(name) for flag in section.flags):
        assert re.search(rf"^  {re.escape(flag.name)}( |$)", text, re.MULTILINE), flag.name


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_lines_are_filled_and_none_is_too_long(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    width = min(columns, 120)
    for text in [overview(), overview("ticket"), *(command_help(name, "all") for name in COMMANDS)]:
        lines = text.splitlines()
        assert not [line for line in lines if len(line) > width and not line.startswith("  --")]
        for line, following in pairwise(lines):
            start = len(following) - len(following.lstrip())
            if start > 4 and len(line) - len(line.lstrip()) == start:  # two lines of one text
                assert len(line) + 1 + len(following.split()[0]) > width, (line, following)


@pytest.mark.parametrize("columns", [80, 120])
def test_help_of_a_recipes_command_names_its_sections(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in BY_RECIPE:
        text = command_help(name)
        studies = 2 * len(STUDIES) if name == "study" else 18  # two lines a question at most
        assert len(text.splitlines()) < 44 + studies
        sections = [section.name for section in flag_sections(name)[2:]]
        assert {"data", "search", "train", "compute"} <= set(sections)
        assert all(f"  --{section}.* " in text for section in sections)
    text = command_help("compare", "search")
    assert "--search.lr X" in text
    assert "--train.lr" not in text


@pytest.mark.parametrize("name", BY_RECIPE)
def test_grids_are_flags_of_study_alone(name):
    assert ("--study.lr" in command_help(name, "all")) == (name == "study")


def test_help_says_how_to_turn_a_switch_off():
    assert opposite("--train.pgd.random-start") == "--train.pgd.no-random-start"
    text = " ".join(command_help("train", "train").split())
    assert "(default: on; off: --train.no-augment)" in text


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("runs", "runs rm"),
        ("ticket --help", "ticket diff"),
        ("help runs rm", "usage: robust-tickets runs rm PATH"),
        ("help", "Start with"),
    ],
)
def test_help_is_found_in_several_ways(words, part, capsys):
    main(words.split())
    assert part in capsys.readouterr().out


def test_an_unknown_section_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["compare", "--help", "serach"])
    assert "did you mean 'search'" in capsys.readouterr().err


@pytest.mark.parametrize("columns", ["1", "10", "49"])
def test_a_narrow_terminal_gets_the_narrowest_help(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    expected = overview(), command_help("train", "all")
    assert max(len(line) for line in expected[0].splitlines() if ":" not in line) <= 50
    monkeypatch.setenv("COLUMNS", columns)
    assert (overview(), command_help("train", "all")) == expected


def test_python_without_docstrings_has_flags_without_a_text():
    code = "from robust_tickets.cli.main import main; main(['train', '--help', 'all']); main(['recipes'])"
    done = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=True)
    assert "--train.epochs" in done.stdout
    assert "demo" in done.stdout
