"""Tasks that are sent to other machines, and what is left of them to be done here."""

import pickle
from collections.abc import Callable, Sequence
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


def pickle_task(task: Task, machine: "Machine") -> bytes:
    """What to call and the machine to call it with, as bytes. Raises InputError for what cannot be sent."""
    try:
        return pickle.dumps((task.do, machine))
    except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{task.name} cannot be sent to a worker ({error}): pass the network as a function of a module, "
            "not a lambda or a local one"
        ) from None


def read_task(content: bytes, place: str) -> "tuple[Callable[[Machine], object], Machine]":
    """What to call, and the machine as the process that reads it has it.

    place: where it is read, for the message. Raises InputError where a module of the user's own is missing.
    """
    try:
        do, machine = pickle.loads(content)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{place} cannot read the task ({error}): start workers where they can import what you import, "
            "as with PYTHONPATH"
        ) from None
    return do, machine
