"""Tasks that are sent to other machines, and what is left of them to be done here."""

import io
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robust_tickets.base.errors import InputError
from robust_tickets.base.progress import Tasks
from robust_tickets.comparison.executors.base import Task

if TYPE_CHECKING:
    from robust_tickets.base.machine import Machine


def do_finished(tasks: Sequence[Task], machine: "Machine", progress: Tasks) -> set[int]:
    """Let tasks that an earlier command has done say so; returns their positions."""
    done = {i for i, task in enumerate(tasks) if task.is_done()}
    for i in sorted(done):
        progress.begin(i, tasks[i].name)
        tasks[i].do(machine)
        progress.end(i, tasks[i].summary())
    return done


class _Pickler(pickle.Pickler):
    """Names paths in a folder by their place there, so that another machine has them in a folder of its own.

    root: the folder; None: paths are sent as they are.
    """

    def __init__(self, file: io.BytesIO, root: Path | None) -> None:
        super().__init__(file)
        self._root = root

    def persistent_id(self, value: object) -> str | None:
        """The place of a path in the folder; None for everything else."""
        if self._root is None or not isinstance(value, Path) or not value.is_relative_to(self._root):
            return None
        return value.relative_to(self._root).as_posix()


class _Unpickler(pickle.Unpickler):
    """Reads what `_Pickler` wrote; root: the folder in which paths are to lie here."""

    def __init__(self, content: bytes, root: Path | None) -> None:
        super().__init__(io.BytesIO(content))
        self._root = root

    def persistent_load(self, place: str) -> Path:
        """The path of a place."""
        assert self._root is not None
        return self._root / place


def needed_files(task: Task) -> list[Path]:
    """The files, and folders of files, that a task needs on a machine that does not see them."""
    needed = getattr(task.do, "needed_files", None)
    return [] if needed is None else [path.resolve() for path in needed()]


def pickle_task(task: Task, machine: "Machine", root: Path | None = None) -> bytes:
    """What to call and the machine to call it with, as bytes.

    root: the folder of the runs, where the worker has another one; None: it has the same.
    Raises InputError for what cannot be sent.
    """
    content = io.BytesIO()
    try:
        _Pickler(content, root).dump((task.do, machine))
        return content.getvalue()
    except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{task.name} cannot be sent to a worker ({error}): pass the network as a function of a module, "
            "not a lambda or a local one"
        ) from None


def read_task(
    content: bytes, place: str, root: Path | None = None
) -> "tuple[Callable[[Machine], object], Machine]":
    """What to call, and the machine as the process that reads it has it.

    place: where it is read, for the message.
    root: the folder of the runs here, where it is another one than the client's.

    Raises InputError where a module of the user's own is missing.
    """
    try:
        do, machine = _Unpickler(content, root).load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{place} cannot read the task ({error}): start workers where they can import what you import, "
            "as with PYTHONPATH"
        ) from None
    return do, machine
