"""Errors and warnings that are meant for the user."""

from collections.abc import Iterable
from difflib import get_close_matches

from attacks.errors import InputError

__all__ = ["InputError", "RobustnessWarning", "unknown_name"]


class RobustnessWarning(UserWarning):
    """A robust accuracy cannot be trusted: a sanity check failed, or the monitor of a training warns."""


def unknown_name(kind: str, name: object, names: Iterable[str], *, path: str | None = None) -> InputError:
    """The InputError for an unknown name; its message suggests the nearest ones.

    kind: what the name is of, such as "recipe".
    names: all names that exist.
    path: a longer form of the name for the message, such as "search.lr" for "lr".
    """
    names = sorted(names)
    near = get_close_matches(str(name)[:80], names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    return InputError(f"unknown {kind} {path or str(name)!r:.80}: {hint}known: {', '.join(names)}")
