"""Arguments of Python functions: whole numbers, NumPy's too, and messages in Python's words."""

import inspect
import operator
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from robust_tickets.base.errors import InputError
from robust_tickets.base.paths import expand_home
from robust_tickets.base.torch_modes import plain_modes

P = ParamSpec("P")
R = TypeVar("R")

_FLAG = re.compile(r"(?<![\w./-])--([a-z][a-z0-9-]*(?:\.[a-z0-9-]+)*)")


def to_int(value: Any) -> Any:
    """A whole number as an int, NumPy's and tensors too; any other value, also True and False, as it is."""
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
        return value
    try:
        return operator.index(value)
    except TypeError:
        return value


def whole_number(name: str, value: Any, *, least: int, most: int = 2**31 - 1) -> int:
    """An argument as an int. Raises InputError for anything but a whole number within the bounds."""
    number = to_int(value)
    if type(number) is not int or not least <= number <= most:
        raise InputError(f"{name} must be a whole number from {least} to {most}, got {value!r:.80}")
    return number


def to_path(name: str, value: Any) -> Path:
    """An argument as a path. Raises InputError for anything but a text or a path."""
    if not isinstance(value, str | Path):
        raise InputError(f"{name} must be a path, as text or a Path, got {value!r:.80}")
    return expand_home(value)


def name_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """A public function whose InputErrors name fields and arguments where messages name flags.

    It computes alike in any mode of PyTorch that its caller is in (`plain_modes`).

    The stages' messages are those of the command line: `--data.root` becomes `data.root`, and `--runs`, where
    the function has an argument of that name, `runs`.
    """
    arguments = inspect.signature(function).parameters

    def name(flag: re.Match[str]) -> str:
        argument = flag[1].replace("-", "_")
        return argument if "." in argument or argument in arguments else flag[0]

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with plain_modes():
                return function(*args, **kwargs)
        except InputError as error:
            error.args = (_FLAG.sub(name, str(error)),)
            raise

    return call
