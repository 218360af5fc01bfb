"""What a person can get wrong, said in one way."""

from collections.abc import Iterable
from difflib import get_close_matches

from attacks.errors import InputError

__all__ = ["InputError", "RobustnessWarning", "unknown_name"]


class RobustnessWarning(UserWarning):
    """A sanity check, or a watcher of a training, says that a robust accuracy cannot be trusted."""


def unknown_name(kind: str, word: object, known: Iterable[str], *, shown: str | None = None) -> InputError:
    """An InputError for a name (`shown`, if it has a longer form) not in `known`, the nearest first."""
    names = sorted(known)
    near = get_close_matches(str(word)[:80], names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    return InputError(f"unknown {kind} {shown or str(word)!r:.80}: {hint}known: {', '.join(names)}")
