"""What a file system may refuse without harm: syncing a folder, permissions, locks."""

import errno
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager

from robust_tickets.base.progress import stderr_progress

UNSUPPORTED = frozenset(
    {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.ENOTTY}
)
"""Errors that say that a file system cannot do something at all."""

_DENIED = frozenset({errno.EPERM, errno.EACCES})

_notes: set[str] = set()


@contextmanager
def optional(action: str, consequence: str) -> Iterator[None]:
    """Go on where the file system refuses the block, and say so once; other errors, as of a full disk, stand.

    action: what it refuses, such as "sync folders".
    consequence: what that means.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in UNSUPPORTED | _DENIED:
            raise
        note_once(f"note: the file system cannot {action} ({error.strerror or error}): {consequence}")


def note_once(line: str) -> None:
    """Show a line, once a process; processes that are jobs leave that to their parent."""
    if line not in _notes and multiprocessing.parent_process() is None:
        _notes.add(line)
        stderr_progress().log(line)
