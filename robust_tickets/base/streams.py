"""Standard streams as they may be: closed, broken, or unable to show more than ASCII."""

import codecs
import os
import sys
import unicodedata
from collections.abc import Callable
from contextlib import AbstractContextManager

from robust_tickets.base.thread_value import ThreadValue

_ERRORS = "robust-tickets"
_ASCII = {"±": "+-", "×": "x", "†": "+", "‡": "++", "–": "-", "—": "-", "→": "->", "…": "...", "·": "."}
_ASCII |= {"≤": "<=", "≥": ">=", "∞": "inf", "²": "^2", "Δ": "d", "“": '"', "”": '"', "’": "'"}


def prepare_streams() -> None:
    """Open closed streams on the null device, and let characters that a stream cannot show become others.

    The number of a closed stream would go to the next file that is opened, and messages of C libraries would
    be written into that.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)  # for processes that are jobs
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 (kept)
    codecs.register_error(_ERRORS, _replace)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a caller has put another in its place
            stream.reconfigure(errors=_ERRORS)


_send: ThreadValue[Callable[[str], None]] = ThreadValue()


def lines_to(send: Callable[[str], None]) -> AbstractContextManager[None]:
    """Send the lines that the block would write to stderr somewhere else; for this thread alone."""
    return _send.set_to(send)


def complain(line: str) -> None:
    """Write a line to stderr, if that can be written, or where `lines_to` sends it."""
    if _send.value is not None:
        _send.value(line)
        return
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"{line}\n")  # in one write, as other processes may print too
            sys.stderr.flush()
    except (OSError, ValueError):  # ValueError: closed
        pass


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    return "".join(map(_as_ascii, part)), error.end


def _as_ascii(character: str) -> str:
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return _ASCII.get(character) or plain or "?"
