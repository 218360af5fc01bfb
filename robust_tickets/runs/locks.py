"""One process at a time in a run directory."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from robust_tickets.base.errors import InputError

NAME = ".lock"

_parents = False


def leave_to_parent() -> None:
    """Lock nothing in this process from here on: its parent holds the folders that it is to work in."""
    global _parents
    _parents = True


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, which is made where there is none.

    A dead process holds nothing, and files that it left unfinished are removed. May be nested within a
    process. Raises InputError if another process is in the folder, or if it cannot be written.
    """
    if _parents:
        yield
        return
    file = folder.resolve() / NAME
    made = [parent for parent in file.parents if not parent.exists()]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file, timeout=0, is_singleton=True, thread_local=False)
        lock.acquire()
    except Timeout:
        raise InputError(
            f"another process works in {folder}: wait until it is done, or choose another folder by --runs"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot write {file}: {error.strerror or error}: choose a folder that can be written (--runs)"
        ) from None
    for unfinished in file.parent.rglob(".*.part"):
        unfinished.unlink(missing_ok=True)
    try:
        yield
    finally:
        if made and [found.name for found in file.parent.iterdir()] == [NAME]:
            file.unlink()  # nothing came of it, as with a wrong call
            with suppress(OSError):  # another process may have put something into a parent meanwhile
                for parent in made:
                    parent.rmdir()
        lock.release()
