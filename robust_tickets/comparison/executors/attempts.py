"""Attempts at a task: of several that believe to have it, the last one alone may change its files.

A process that was paused may wake when its task was given to another, and would go on where it was.
"""

import hashlib
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from robust_tickets.base.signals import StopRequest
from robust_tickets.runs import files


@contextmanager
def attempt(folder: Path | None, name: str) -> Iterator[None]:
    """Make the block the attempt that may write and remove files; an earlier one stops before its next file.

    folder: where attempts leave their marks; None: the task has no folder.
    name: of the task.
    """
    if folder is None:
        yield
        return
    mark = folder / f".attempt-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    token = uuid.uuid4().hex
    files.write_text(mark, token)
    with files.guarded(_check(mark, token)):
        try:
            yield
        finally:
            with suppress(StopRequest):  # it is another's
                files.remove(mark)


def _check(mark: Path, token: str) -> Callable[[], None]:
    """Raises StopRequest where the mark is no longer this attempt's."""

    def check() -> None:
        try:
            is_ours = mark.read_text() == token
        except OSError:
            is_ours = False
        if not is_ours:
            raise StopRequest(signal.SIGTERM)

    return check
