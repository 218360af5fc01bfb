"""The training methods by name. One line of `METHODS` registers one: nothing else names it.

The recipe's allowed values, its nested settings (`train.<method>.<field>`), their flags and help come from
this table. Classes are named by text, since training stands below the recipe.
"""

import dataclasses
import importlib
import inspect
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robust_tickets.recipe.fields import Training
    from robust_tickets.training.methods.base import Method

METHODS = {
    "natural": "robust_tickets.training.methods.natural:Natural",
    "fgsm": "robust_tickets.training.methods.fgsm:FGSM",
    "pgd": "robust_tickets.training.methods.pgd:PGD",
    "trades": "robust_tickets.training.methods.trades:TRADES",
    "nfgsm": "robust_tickets.training.methods.nfgsm:NFGSM",
}
"""Name in recipes -> module:class."""


def make_method(training: "Training") -> "Method":
    """The method of a training, fresh, with its settings from the recipe."""
    return method_class(training.method)(method_settings(training))


def method_settings(training: "Training") -> Any:
    """The settings of a training's own method."""
    empty = method_class(training.method).Settings
    return getattr(training, training.method, None) or empty()


@cache
def method_class(name: str) -> type["Method"]:
    """The class of a registered method. Raises TypeError for one that lacks a part of the interface."""
    module, _, attribute = METHODS[name].partition(":")
    cls = getattr(importlib.import_module(module), attribute)
    missing = _missing(name, cls)
    if missing:
        raise TypeError(f"the training method {name} ({METHODS[name]}) lacks {', '.join(missing)}: add it")
    return cls  # type: ignore[no-any-return]


def method_help() -> str:
    """What each method trains on, for the help of the field `method`: the first lines of their docstrings."""
    lines = ((name, (inspect.getdoc(method_class(name)) or "").splitlines()[0]) for name in METHODS)
    return "; ".join(f"{name}: {line[0].lower()}{line[1:].rstrip('.')}" for name, line in lines)


def _missing(name: str, cls: Any) -> list[str]:
    """What a method's class would have to have before anything can be trained with it."""
    from robust_tickets.training.methods.base import Method

    if not name.isidentifier():
        return ["a name that can be a field of the recipe"]
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        return ["the base class Method"]
    missing = sorted(cls.__abstractmethods__)
    for part in (cls, cls.Settings):
        if not vars(part).get("__doc__"):
            missing.append(f"a docstring of {part.__name__}")
    if not dataclasses.is_dataclass(cls.Settings):
        missing.append("a dataclass as Settings")
    else:
        missing += [
            f"a default of {cls.Settings.__name__}.{field.name}"
            for field in dataclasses.fields(cls.Settings)
            if field.default is field.default_factory is dataclasses.MISSING
        ]
    return missing
