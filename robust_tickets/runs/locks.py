"""Locks: one process at a time works in a run directory."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from robust_tickets.base.errors import InputError
from robust_tickets.base.file_systems import UNSUPPORTED, note_once
from robust_tickets.base.paths import follow_links

LOCK_FILE = ".lock"

_parent_locks = False


def leave_to_parent() -> None:
    """Lock nothing in this process from now on: its parent has locked the folders that it works in."""
    global _parent_locks
    _parent_locks = True


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, which is created if it does not exist.

    The lock of a dead process does not count, and its unfinished files are removed. May be nested within a
    process. Raises InputError if another process has the lock, or if the folder cannot be written.
    """
    if _parent_locks:
        yield
        return
    file = follow_links(folder) / LOCK_FILE
    new_folders = [parent for parent in file.parents if not parent.exists()]
    lock = FileLock(file, timeout=0, is_singleton=True, thread_local=False)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        locked = _acquire(lock, folder)
    except OSError as error:
        raise InputError(
            f"cannot write {file}: {error.strerror or error}: choose a folder that can be written (--runs)"
        ) from None
    for part in file.parent.rglob(".*.part") if locked else ():
        part.unlink(missing_ok=True)
    try:
        yield
    finally:
        if new_folders and {path.name for path in file.parent.iterdir()} <= {LOCK_FILE}:
            file.unlink(
                missing_ok=True
            )  # nothing was written, as after a mistake in the call: leave no empty folders
            with suppress(OSError):  # another process may have written into a parent since
                for parent in new_folders:
                    parent.rmdir()
        lock.release()


def _acquire(lock: FileLock, folder: Path) -> bool:
    """Take the lock; gives whether the file system has locks. Raises InputError if another process has it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # without flock at all it uses a file as the lock, and warns
            lock.acquire()
        return True
    except Timeout:
        raise InputError(
            f"another process works in {folder}: wait until it ends, or choose another folder by --runs"
        ) from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        note_once(
            f"note: the file system cannot lock files ({error.strerror or error}): let no other process work "
            f"in {folder} at the same time"
        )
        return False
