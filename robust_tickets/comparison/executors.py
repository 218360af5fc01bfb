"""Tasks one after another, or several side by side, each in a process of its own."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from robust_tickets.base import signals
from robust_tickets.base.errors import InputError
from robust_tickets.base.idle_threads import no_spinning_in_children
from robust_tickets.base.progress import LineProgress, SilentProgress
from robust_tickets.runs import locks

if TYPE_CHECKING:
    from robust_tickets.base.machine import Machine

_LOOK = 0.2  # seconds between two looks of a child at its parent


@dataclass(frozen=True)
class Task:
    """A piece of work that leaves files: what it is called, what does it, and the tasks it has to wait for.

    `do` is called with a machine, perhaps in another process, so that it can be pickled. `after` are places
    in the sequence that it is in, all of them earlier ones. `label` stands before what it says there.
    """

    name: str
    do: "Callable[[Machine], object]"
    after: tuple[int, ...] = ()
    label: str = ""


def run_tasks(tasks: Sequence[Task], jobs: int, machine: "Machine", threads: int) -> None:
    """Do all tasks, at most `jobs` at a time; `threads` are those of a task.

    One at a time they are done here, in their order. A first failure, or a signal to stop, lets those under
    way keep what they have, as a signal does, and ends the rest. Raises InputError as the first task that
    fails does, and where one dies or cannot be handed to a process.
    """
    if min(jobs, len(tasks)) <= 1:
        for task in tasks:
            task.do(machine)
        return
    cores = os.cpu_count() or 1
    if machine.device == "cpu" and jobs * threads > cores:
        machine.progress.log(
            f"{jobs} jobs of {threads} threads on {cores} cores slow each other down: --compute.threads "
            f"{max(1, cores // jobs)} would give each its own"
        )
    there = replace(machine, jobs=min(jobs, len(tasks)))
    under_way: dict[int, _Child] = {}
    done: set[int] = set()
    try:
        while len(done) < len(tasks):
            for i, task in enumerate(tasks):
                ready = i not in done and i not in under_way and done.issuperset(task.after)
                if ready and len(under_way) < jobs:
                    under_way[i] = _Child(task, there)
            connection.wait([child.process.sentinel for child in under_way.values()])
            for i in [i for i, child in under_way.items() if not child.process.is_alive()]:
                under_way.pop(i).answer()
                done.add(i)
    finally:
        _stop([child.process for child in under_way.values()])


def _stop(processes: "Sequence[BaseProcess]") -> None:
    """Let them keep what they have, and wait until they are gone; a second signal kills them instead."""
    for process in processes:
        process.terminate()
    try:
        for process in processes:
            process.join()
    except KeyboardInterrupt:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        raise


class _Child:
    """A task in a process of its own."""

    def __init__(self, task: Task, machine: "Machine") -> None:
        self._name = task.name
        context = multiprocessing.get_context("spawn")
        self._answer, theirs = context.Pipe(duplex=False)
        progress = (
            machine.progress if isinstance(machine.progress, SilentProgress) else LineProgress(task.label)
        )
        args = (theirs, task.do, replace(machine, progress=progress), os.getpid())
        self.process: BaseProcess = context.Process(target=_live, args=args, name=task.name)
        try:
            with no_spinning_in_children():
                self.process.start()
        except (pickle.PicklingError, TypeError, AttributeError, ValueError, OSError) as error:
            # pickle raises any of the first four
            raise InputError(
                f"{task.name} cannot be handed to a process of its own ({error}): hand over the net as a "
                "function of a module, not a lambda or a local one, or leave out jobs"
            ) from None
        theirs.close()

    def answer(self) -> None:
        """Raise InputError where the task has failed."""
        self.process.join()
        try:
            said = self._answer.recv() if self._answer.poll() else None
        except EOFError:  # it ended without a word
            said = None
        if said is not None:
            raise InputError(f"{self._name}: {said}")
        if self.process.exitcode:
            if self.process.exitcode > 0:
                raise InputError(
                    f"{self._name} ended with status {self.process.exitcode}, by the error above: mend that, "
                    "then give the same command again, which goes on from what is kept"
                )
            name = signal.Signals(-self.process.exitcode).name
            how = f"was killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
            raise InputError(
                f"{self._name} {how}: give the same command again, which goes on, with fewer jobs"
            )


def _live(
    answer: "connection.Connection[str, str]",
    do: "Callable[[Machine], object]",
    machine: "Machine",
    parent: int,
) -> None:
    """A child's whole life."""
    os.setsid()  # Ctrl-C in a terminal is for the parent, which tells its children
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    locks.leave_to_parent()
    try:
        with signals.handle_signals():
            do(machine)
    except InputError as error:
        answer.send(str(error))
    except OSError as error:
        answer.send(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGTERM)


def _watch(parent: int) -> None:
    """End with the parent, at once, as if killed: what is on disk is whole."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)
