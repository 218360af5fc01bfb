"""The classes of torchattacks: their names, arguments and passes."""

import inspect
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from math import prod
from typing import Any

from .errors import did_you_mean


def class_named(name: str) -> Any:
    """The class of that name. Raises ValueError where there is none."""
    with quiet():
        import torchattacks
        from torchattacks.attack import Attack as Base
    classes = {
        key: value
        for key, value in vars(torchattacks).items()
        if isinstance(value, type) and issubclass(value, Base)
    }
    if name not in classes:
        hint = did_you_mean(name, classes)
        raise ValueError(f"torchattacks has no attack {name!r}{hint} known: {', '.join(sorted(classes))}")
    return classes[name]


def class_arguments(name: str, attack_class: Any) -> dict[str, object]:
    """The arguments that a class takes besides the network, with their defaults.

    Raises ValueError for a class that needs more.
    """
    parameters = dict(inspect.signature(attack_class).parameters)
    parameters.pop("model", None)
    parameters = {k: p for k, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    if required:
        raise ValueError(
            f"torchattacks.{name} needs {', '.join(required)}, which no setting can give: only attacks that "
            "take a network and settings with defaults can be used here"
        )
    return {argument: parameter.default for argument, parameter in parameters.items()}


def check_norm(name: str, attack_class: Any, defaults: dict[str, object], norm: str) -> None:
    """Raise ValueError for an attack whose own docstring names other norms."""
    line = re.search(r"Distance Measure\s*:\s*(.+)", attack_class.__doc__ or "")
    norms = re.findall(r"L(?:inf|\d)", line.group(1)) if line else []
    if norms and norm not in norms and {"eps", "max_epsilon"} & defaults.keys():
        raise ValueError(
            f"torchattacks.{name} attacks within {' or '.join(norms)} balls, the threat model is {norm}: "
            "choose an attack of that norm"
        )


def check_argument(name: str, argument: str, value: object, defaults: dict[str, object]) -> None:
    """Raise ValueError for an argument that a class does not take, or of another type or range."""
    if argument not in defaults:
        hint = did_you_mean(argument, defaults)
        raise ValueError(
            f"torchattacks.{name} has no argument {argument!r}{hint} its arguments: "
            f"{', '.join(defaults) or 'none'}"
        )
    default = defaults[argument]
    numbers = (int, float) if argument in _MEASURES else (int,)
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


_MEASURES = ("c", "kappa", "scale", "lam", "nsig")
"""Arguments of torchattacks whose default is a whole number by chance; the others count something."""


def estimate_passes(name: str, arguments: Mapping[str, object]) -> int:
    """About how many passes a sample takes: three in each turn of the loops that the arguments count.

    A turn is a gradient (two passes) and a look at what it led to. A class that goes through the classes of
    the network counts ten times, and AutoAttack, whose arguments do not show its loops, 10,000 passes.
    """
    turns = prod(int(str(value)) for argument, value in arguments.items() if argument in _LOOPS)
    class_by_class = name in _CLASS_BY_CLASS or arguments.get("multi_targeted") is True
    return 10_000 if name == "AutoAttack" else 3 * turns * (10 if class_by_class else 1)


_LOOPS = (
    *("steps", "nb_iter", "num_iter_set", "max_iterations", "binary_search_steps", "n_queries", "n_restarts"),
    *("restarts", "eot_iter", "nb_sample", "noise_batch_size", "popsize", "m", "N"),
)
_CLASS_BY_CLASS = ("APGDT", "DeepFool", "SparseFool", "JSMA")


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block nothing is printed, and torchattacks and what it imports do not warn."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(torchattacks|requests)\b")
        yield
