"""Errors and warnings that are meant for the user."""

from collections.abc import Iterable

from robust_tickets.attacks.errors import InputError, did_you_mean

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
    hint = did_you_mean(str(name), names)
    return InputError(f"unknown {kind} {path or str(name)!r:.80}{hint} known: {', '.join(names)}")
