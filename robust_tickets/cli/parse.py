"""Words of the command line to a command with its flags.

tyro assigns the words to fields; the values are checked like those of a recipe file, with the same messages.
"""

import difflib
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from robust_tickets.base.errors import InputError
from robust_tickets.base.paths import expand_home, module_name
from robust_tickets.cli.command import ByRecipe, Command
from robust_tickets.cli.flags import Flag, is_positional
from robust_tickets.cli.input_file import InputFile
from robust_tickets.cli.registry import command_class, flag_sections
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe import schema
from robust_tickets.recipe.arm_settings import ArmSettings
from robust_tickets.recipe.old_names import flag_reason, new_flag

_LONG = 400  # characters of a flag's help that a message repeats

CONSTRUCTORS = ConstructorRegistry()
"""How tyro reads words as values."""


def parse(name: str, words: list[str]) -> Command:
    """The command of that name with these flags; its recipe gives the defaults.

    Raises InputError for an unknown flag, a missing or superfluous word, and a wrong value.
    """
    _check_flags(name, words)
    cls = command_class(name)
    command: Command
    options: dict[str, Any] = {}
    if issubclass(cls, ByRecipe):
        options["default"] = recipe_defaults(cls, words)
        if options["default"] is None:
            raise _no_recipe(name, words)
    try:
        command, rest = tyro.cli(
            cls,
            args=words,
            add_help=False,
            return_unknown_args=True,
            console_outputs=False,
            registry=CONSTRUCTORS,
            **options,
        )
    except SystemExit:
        raise _no_words(name, words) from None
    hints = get_type_hints(cls, include_extras=True)
    if any(is_positional(hints[field]) and getattr(command, field) == () for field in hints):
        raise _no_words(name, words)
    if rest:
        raise InputError(_usage(name, f"unexpected {rest[0]!r}"))
    if isinstance(command, ByRecipe):
        base = options["default"].fields
        model = command.fields.model
        model = replace(model, name=module_name(model.name))
        command = replace(command, fields=replace(command.fields, model=model))
        # first: its messages name `search.lr` and not `fields.search.lr`
        recipes.check(command.fields, base, command.pruning_methods_of_study)
    schema.check(command)
    return command


def recipe_defaults(cls: type[Command], words: list[str]) -> Command | None:
    """A command with the values of the recipe that --recipe names; None for one without a recipe.

    What a recipe says of its own network is left out where another flag names one of the user's.
    """
    recipe = _value_of("--recipe", words)
    if recipe is None or not issubclass(cls, ByRecipe):
        return None
    fields = recipes.load(recipe)
    if ":" in (_value_of("--model.name", words) or ""):
        fields = replace(fields, model=replace(fields.model, width=1.0, dropout=0.0))
    return cls(recipe=recipe, fields=fields)


def _value_of(flag: str, words: list[str]) -> str | None:
    """The value that a flag has last among the words of a command; None: it is not there."""
    value = None
    for word, following in itertools.pairwise([*words, ""]):
        if word == flag and following:
            value = following
        elif word.startswith(f"{flag}="):
            value = word.removeprefix(f"{flag}=")
    return value


def _check_flags(name: str, words: list[str]) -> None:
    """Raise InputError for an unknown flag, with the nearest ones, and for a flag without its value."""
    flags = {
        spelling: flag
        for section in flag_sections(name)
        for flag in section.flags
        for spelling in flag.names
        if spelling.startswith("--")
    }
    for word, following in itertools.pairwise([*words, "--"]):
        spelling, equals, _ = word.partition("=")
        if not spelling.startswith("--"):
            continue
        flag = flags.get(spelling.replace("_", "-"))
        if flag is None:
            raise InputError(f"unknown flag {spelling}: {_hint(name, spelling, list(flags))}")
        if flag.metavar and not equals and following.startswith("--"):
            meaning = flag.help if len(flag.help) <= _LONG else f"see robust-tickets {name} --help"
            raise InputError(f"{spelling} needs a value ({flag.metavar}): {meaning}")


def _hint(name: str, flag: str, flags: list[str]) -> str:
    """What to write instead of an unknown flag."""
    new = new_flag(flag)
    if new is not None:
        return f"it is now called {new}"
    reason = flag_reason(flag)
    if reason is not None:
        return reason
    if flag.startswith("--study.") and name != "study":
        return f"{name} has no grid, only robust-tickets study has one; leave it out"
    field = flag.removeprefix("--")
    near = sorted(
        (known for known in flags if known.endswith(f".{field}")), key=lambda known: known.count(".")
    )
    near += difflib.get_close_matches(flag, set(flags) - set(near), n=3, cutoff=0.8)
    guess = f"did you mean {' or '.join(near[:3])}? " if near else ""
    everything = " all" if issubclass(command_class(name), ByRecipe) else ""
    return f"{guess}robust-tickets {name} --help{everything} lists all flags"


def _no_recipe(name: str, words: list[str]) -> InputError:
    """The InputError for a command without --recipe; its name may have been given without the flag."""
    arguments = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    more = arguments[len(_positionals(name)) :]
    if more:
        return InputError(f"{name} needs --recipe: write --recipe {more[0]} for {more[0]!r}")
    return InputError(f"{name} needs --recipe: one of {', '.join(recipes.shipped_names())}, or a TOML file")


def _no_words(name: str, words: list[str]) -> InputError:
    """The InputError for a command that lacks flags which it cannot do without, or positional arguments."""
    own, *_ = flag_sections(name)
    given = {word.partition("=")[0] for word in words}
    missing = [
        flag
        for flag in own.flags
        if flag.required and flag.name.startswith("--") and not given.intersection(flag.names)
    ]
    if not missing or all(word.startswith("-") for word in words):
        missing = [*_positionals(name), *missing]
    needs = [f"{flag.name} ({flag.help})" for flag in missing]
    return InputError(_usage(name, f"{name} needs {' and '.join(needs)}"))


def _positionals(name: str) -> list[Flag]:
    """The positional arguments of a command."""
    own, *_ = flag_sections(name)
    return [flag for flag in own.flags if not flag.name.startswith("--")]


def _usage(name: str, problem: str) -> str:
    words = [flag.name for flag in _positionals(name)]
    return " ".join([f"{problem}: robust-tickets", name, *words, "[OPTIONS]; see its --help"])


@CONSTRUCTORS.primitive_rule
def _lenient(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Numbers, choices, paths, eps, budgets; other words pass as they are: the fields' check refuses them."""
    kind: Any = info.type
    optional = type(None) in get_args(kind)
    if get_origin(kind) is UnionType:  # tyro takes a class or None for two commands
        kind = next((part for part in get_args(kind) if part in (InputFile, *schema.TEXT_TYPES)), kind)
    choices = {str(value): value for value in get_args(kind)}
    kinds = (int, float, Path, InputFile, ArmSettings, *schema.TEXT_TYPES)
    if get_origin(kind) is not Literal and kind not in kinds:
        return None
    convert: Callable[[str], Any] = choices.__getitem__ if choices else kind
    if kind is Path:
        convert = expand_home  # the shell leaves --runs=~/runs as it is

    def construct(words: list[str]) -> Any:
        if optional and words[0] == "None":
            return None
        try:
            return convert(words[0])
        except (ValueError, KeyError):
            return words[0]

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="VALUE",
        instance_from_str=construct,
        is_instance=lambda value: True,  # a default of a field is of its type
        str_from_instance=lambda value: [str(value)],
    )
