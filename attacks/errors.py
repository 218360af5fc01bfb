"""The error of wrong input, for attacks and for everything that is built on them."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Input that cannot be right. The message says what is wrong, then what to do."""


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """`: did you mean 'x'?` with the nearest of the names, or a colon alone where none is near."""
    by_lower = {name.lower(): name for name in names}
    near = get_close_matches(word[:80].lower(), by_lower, n=3, cutoff=0.6)
    return f": did you mean {' or '.join(repr(by_lower[name]) for name in near)}?" if near else ":"
