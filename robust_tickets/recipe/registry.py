"""Classes registered by name, each by one line `"name": "module:class"` of a table.

They are named by text, since their packages import the recipe's. A class that lacks something is refused as
soon as the recipe's fields are imported, not after an hour of training.
"""

import dataclasses
import importlib
import inspect
from collections.abc import Mapping
from typing import Any


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
    settings: Any = getattr(cls, "Settings", None)
    missing += [
        f"a docstring of {part.__name__}" for part in (cls, settings) if not vars(part).get("__doc__")
    ]
    owner = settings.__name__
    if not dataclasses.is_dataclass(settings):
        return [*missing, "a dataclass as Settings"]
    return missing + [
        f"a default of {owner}.{field.name}"
        for field in dataclasses.fields(settings)
        if field.default is field.default_factory is dataclasses.MISSING
    ]


def first_lines(classes: Mapping[str, type]) -> str:
    """What each class does, for the help of a field: the first lines of their docstrings."""
    lines = ((name, (inspect.getdoc(cls) or "").splitlines()[0]) for name, cls in classes.items())
    return "; ".join(f"{name}: {line[0].lower()}{line[1:].rstrip('.')}" for name, line in lines)
