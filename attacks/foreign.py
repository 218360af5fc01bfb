"""What the classes of torchattacks take."""

import inspect
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from attacks.checks import did_you_mean


def class_named(name: str) -> Any:
    """The class of that name. Raises ValueError where there is none."""
    with quiet():
        import torchattacks
        from torchattacks.attack import Attack as Base
    classes = {
        known: found
        for known, found in vars(torchattacks).items()
        if isinstance(found, type) and issubclass(found, Base)
    }
    if name not in classes:
        hint = did_you_mean(name, classes)
        raise ValueError(f"torchattacks has no attack {name!r}{hint} known: {', '.join(sorted(classes))}")
    return classes[name]


def arguments_of(name: str, attack_class: Any) -> dict[str, object]:
    """The arguments that a class takes beside the net, with their defaults.

    Raises ValueError for a class that needs more.
    """
    taken = dict(inspect.signature(attack_class).parameters)
    taken.pop("model", None)
    taken = {k: p for k, p in taken.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    needed = [argument for argument, parameter in taken.items() if parameter.default is parameter.empty]
    if needed:
        raise ValueError(
            f"torchattacks.{name} needs {', '.join(needed)}, which no setting can say: only attacks that "
            "take a net and settings with defaults can be used here"
        )
    return {argument: parameter.default for argument, parameter in taken.items()}


def check_norm(name: str, attack_class: Any, takes: dict[str, object], norm: str) -> None:
    """Raise ValueError for an attack that searches a ball of other norms, by what its own docstring says."""
    said = re.search(r"Distance Measure\s*:\s*(.+)", attack_class.__doc__ or "")
    norms = re.findall(r"L(?:inf|\d)", said.group(1)) if said else []
    if norms and norm not in norms and {"eps", "max_epsilon"} & takes.keys():
        raise ValueError(
            f"torchattacks.{name} attacks within {' or '.join(norms)} balls, the threat model is {norm}: "
            "choose an attack of that norm"
        )


def check_argument(name: str, argument: str, value: object, takes: dict[str, object]) -> None:
    """Raise ValueError for an argument that a class does not take, or of another type or range."""
    if argument not in takes:
        hint = did_you_mean(argument, takes)
        raise ValueError(
            f"torchattacks.{name} has no argument {argument!r}{hint} its arguments: "
            f"{', '.join(takes) or 'none'}"
        )
    default = takes[argument]
    numbers = (int, float) if argument in _MEASURED else (int,)
    kinds = {bool: (bool,), str: (str,), int: numbers, float: (int, float)}.get(type(default))
    if kinds is not None and type(value) not in kinds:
        raise ValueError(
            f"torchattacks.{name} expects {argument} to be {' or '.join(kind.__name__ for kind in kinds)}, "
            f"like its default {default!r}, got {value!r}"
        )
    counts = type(default) is int and default > 0  # steps, queries, restarts, images at once
    if counts and isinstance(value, int | float) and value <= 0:
        raise ValueError(f"torchattacks.{name} expects {argument} to be above 0, got {value!r}")
    if type(default) is float and default > 0 and isinstance(value, int | float) and value < 0:
        raise ValueError(f"torchattacks.{name} expects {argument} to be at least 0, got {value!r}")


_MEASURED = ("c", "kappa", "scale", "lam", "nsig")
"""Arguments of torchattacks whose default is a whole number by chance; the others count something."""


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block nothing is printed, and torchattacks and what it imports do not warn."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(torchattacks|requests)\b")
        yield
