"""Classes registered by name, each by one line `"name": "module:class"` of a table.

They are named by text, since their packages import the recipe's. A class that lacks something is refused as
soon as the recipe's fields are imported, not after an hour of training.
"""

import dataclasses
import importlib
import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

from robust_tickets.recipe import schema
from robust_tickets.recipe.field_help import HAVE_DOCSTRINGS, field_help


def load_class(kind: str, name: str, place: str, base: str) -> Any:
    """The class registered at a place.

    kind: what it is, for messages.
    name: the name that it is registered under.
    place, base: `module:class` of the class, and of the base class that it must have.

    Raises TypeError with everything that the class lacks.
    """
    cls = _import(place)
    missing = _missing(name, cls, _import(base))
    if missing:
        raise TypeError(f"the {kind} {name} ({place}) lacks {', '.join(missing)}: add it")
    return cls


def _import(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _missing(name: str, cls: Any, base: type) -> list[str]:
    """The parts that a class would need before anything can be run with it."""
    if not name.isidentifier():
        return ["a name that can be a field of the recipe"]
    if not (isinstance(cls, type) and issubclass(cls, base)):
        return [f"the base class {base.__name__}"]
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if HAVE_DOCSTRINGS and not vars(cls).get("__doc__"):
        missing.append(f"a docstring of {cls.__name__}")
    return missing + _missing_in_settings(getattr(cls, "Settings", None))


def _missing_in_settings(settings: Any) -> list[str]:
    """The parts that a dataclass of settings would need to be fields of the recipe."""
    if not (schema.is_table(settings) and settings.__dataclass_params__.frozen):
        return ["a frozen dataclass as Settings"]
    owner = settings.__name__
    docstring = vars(settings).get("__doc__") or ""
    # `dataclass` gives a class without one its signature
    described = not HAVE_DOCSTRINGS or (docstring and not docstring.startswith(f"{owner}("))
    missing = [] if described else [f"a docstring of {owner}"]
    help_texts, hints = field_help(settings), get_type_hints(settings, include_extras=True)
    for field in dataclasses.fields(settings):
        place, hint = f"{owner}.{field.name}", hints[field.name]
        if field.default is field.default_factory is dataclasses.MISSING:
            missing.append(f"a default of {place}")
        if not schema.is_readable(hint):
            missing.append(f"a type of {place} that a recipe can hold, such as int, float or str")
        elif schema.is_table(hint):
            missing += _missing_in_settings(hint)
        elif not help_texts.get(field.name):
            missing.append(f"a help text under {place}")
    return missing


def first_lines(classes: Mapping[str, type]) -> str:
    """What each class does, for the help of a field: the first lines of their docstrings."""
    if not HAVE_DOCSTRINGS:
        return ", ".join(classes)
    lines = ((name, (inspect.getdoc(cls) or "").splitlines()[0]) for name, cls in classes.items())
    return "; ".join(f"{name}: {_lower_first(line.rstrip('.'))}" for name, line in lines)


def _lower_first(line: str) -> str:
    """A line with a small first letter, unless its first word is an abbreviation."""
    return line if line[1:2].isupper() else line[0].lower() + line[1:]
