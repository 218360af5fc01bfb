"""The command line: `robust-tickets COMMAND ...` finds the command, parses its flags and runs it.

torch is imported by the commands that need it, so that help and mistakes answer at once.
"""

import itertools
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import tyro

from robust_tickets.base import signals
from robust_tickets.base.errors import InputError
from robust_tickets.base.version import __version__
from robust_tickets.cli.command import CONSTRUCTORS, ByRecipe, Command
from robust_tickets.cli.help import command_help, overview
from robust_tickets.cli.registry import command_class, split_name
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe import schema
from robust_tickets.recipe.old_names import new_flag

_HELP = ("-h", "--help")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exits with 2 and one message for wrong input."""
    bound_spinning()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not words or words[0] in (*_HELP, "help"):
            print(overview())
        elif words[0] == "--version":
            print(f"robust-tickets {__version__}")
        else:
            name, flags = split_name(words)
            if set(_HELP) & set(flags):
                print(_help(name, flags))
                return
            with signals.exit_on_interrupt(), signals.handle_signals():
                parse(name, flags).run()
    except InputError as error:
        _fail(str(error))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        _fail(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}")


def bound_spinning() -> None:
    """Bound how long idle OpenMP threads spin, before torch is loaded, unless the user has set a bound.

    Unbounded, they slow small networks tenfold on a machine that does something else too (docs/speed.md).
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = "10000"


def parse(name: str, words: list[str]) -> Command:
    """A command with its flags; where it runs a recipe, that is read first and gives the defaults.

    Raises InputError for wrong values; for wrong flags tyro prints its message and exits with 2.
    """
    cls = command_class(name)
    _check_old_flags(words)
    _check_study_flags(name, words)
    options: dict[str, Any] = {"args": words, "prog": f"robust-tickets {name}", "registry": CONSTRUCTORS}
    if issubclass(cls, ByRecipe):
        recipe = _recipe_flag(words)
        if recipe is None:
            raise InputError(
                f"{name} needs --recipe: one of {', '.join(recipes.shipped_names())}, or a TOML file"
            )
        options["default"] = cls(recipe=recipe, fields=recipes.load(recipe))
    command = tyro.cli(cls, **options)
    if isinstance(command, ByRecipe):
        recipes.check(command.fields)  # first: its messages name `search.lr` and not `fields.search.lr`
    schema.check(command)
    assert isinstance(command, Command)
    return command


def _check_old_flags(words: list[str]) -> None:
    for word in words:
        new = new_flag(word)
        if new is not None:
            raise InputError(f"unknown flag {word.partition('=')[0]}: it is now called {new}")


def _check_study_flags(name: str, words: list[str]) -> None:
    flag = next((word for word in words if word.startswith("--study.")), None)
    if flag is not None and name != "study":
        raise InputError(
            f"{flag} is a flag of robust-tickets study alone, and {name} has no grid: leave it out"
        )


def _help(name: str, words: list[str]) -> str:
    """The help asked for by `--help [SECTION]`, with a recipe's values where one is named."""
    place = next(i for i, word in enumerate(words) if word in _HELP)
    following = words[place + 1 : place + 2]
    section = following[0] if following and not following[0].startswith("-") else ""
    cls, recipe = command_class(name), _recipe_flag(words)
    defaults = None
    if issubclass(cls, ByRecipe) and recipe is not None:
        defaults = cls(recipe=recipe, fields=recipes.load(recipe))
    return command_help(name, section, defaults)


def _recipe_flag(words: list[str]) -> str | None:
    """The value of --recipe; of several the last, as with any other flag."""
    recipe = None
    for word, following in itertools.pairwise([*words, ""]):
        if word == "--recipe" and following:
            recipe = following
        elif word.startswith("--recipe="):
            recipe = word.removeprefix("--recipe=")
    return recipe


def _fail(message: str) -> NoReturn:
    print(f"robust-tickets: {message}", file=sys.stderr)
    sys.exit(2)
