"""Runs several tasks at a time, each in a process of its own on this machine."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from robust_tickets.base import signals
from robust_tickets.base.errors import InputError
from robust_tickets.base.idle_threads import no_spinning_in_children
from robust_tickets.base.progress import Tasks
from robust_tickets.comparison.executors.base import Executor, Task, failure_text
from robust_tickets.comparison.executors.inline import Inline
from robust_tickets.runs import locks

if TYPE_CHECKING:
    from robust_tickets.base.machine import Machine

_POLL_SECONDS = 0.2  # between two looks of a child at its parent
_NO_GUARD = 65  # exit status of a child that got no further than the script that it imports


class Processes(Executor):
    """Runs several tasks at a time, each in a process of its own on this machine.

    Where the machine has several GPUs of one kind and none was named, tasks take them in turn.

    jobs: how many at a time.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def check(self) -> None:
        """End this process where it is a child that only imports its parent's script.

        Each child imports the script, for the functions that it defines. The parent then raises InputError.
        """
        end_importing_child()

    def run(self, tasks: Sequence[Task], machine: "Machine", threads: int) -> None:
        """Run all tasks; a single one in this process."""
        if min(self.jobs, len(tasks)) <= 1:
            Inline().run(tasks, machine, threads)
            return
        machine.warn_of_threads(self.jobs, "jobs", threads)
        with machine.progress.tasks([task.weight for task in tasks]) as progress:
            self._run(tasks, machine, progress)

    def _run(self, tasks: Sequence[Task], machine: "Machine", progress: Tasks) -> None:
        running: dict[int, _Child] = {}
        finished: set[int] = set()
        try:
            while len(finished) < len(tasks):
                for i, task in enumerate(tasks):
                    ready = i not in finished and i not in running and finished.issuperset(task.after)
                    if ready and task.is_done():
                        progress.begin(i, task.name)
                        task.do(machine)
                        finished.add(i)
                        progress.end(i, task.summary())
                    elif ready and len(running) < self.jobs:
                        busy = [child.device for child in running.values()]
                        running[i] = _Child(task, machine.share(min(self.jobs, len(tasks)), busy))
                        progress.begin(i, task.name)
                if running:
                    connection.wait([child.process.sentinel for child in running.values()])
                for i in [i for i, child in running.items() if not child.process.is_alive()]:
                    running.pop(i).check()
                    finished.add(i)
                    progress.end(i, tasks[i].summary())
        finally:
            _stop([child.process for child in running.values()])


def end_importing_child() -> None:
    """End this process where it only imports the script of its parent, which starts jobs again."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(_NO_GUARD)


def _stop(processes: "Sequence[BaseProcess]") -> None:
    """Ask processes to save their state and end, and wait for them; a second signal kills them."""
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
        self._name, self.device = task.name, machine.device
        context = multiprocessing.get_context("spawn")
        self._message, end_of_child = context.Pipe(duplex=False)
        progress = machine.progress.of_child(task.label)
        args = (end_of_child, task.do, replace(machine, progress=progress), os.getpid())
        self.process: BaseProcess = context.Process(target=_run_task, args=args, name=task.name)
        try:
            with no_spinning_in_children():
                self.process.start()
        except (pickle.PicklingError, TypeError, AttributeError, ValueError, OSError) as error:
            # pickle raises any of the first four
            raise InputError(
                f"{task.name} cannot be sent to a process of its own ({error}): pass the network as a "
                "function of a module, not a lambda or a local one, or leave out jobs"
            ) from None
        end_of_child.close()

    def check(self) -> None:
        """Raise InputError where the task has failed."""
        self.process.join()
        try:
            message = self._message.recv() if self._message.poll() else None
        except EOFError:  # it ended without a message
            message = None
        if message is not None:
            raise InputError(f"{self._name}: {message}")
        if self.process.exitcode:
            if self.process.exitcode == _NO_GUARD:
                raise InputError(
                    "each job imports the script that starts it, which would start jobs without end: put the "
                    'script\'s calls under `if __name__ == "__main__":`'
                )
            if self.process.exitcode > 0:
                raise InputError(
                    f"{self._name} ended with status {self.process.exitcode}, by the error above: fix that, "
                    "then run the same command again to resume"
                )
            name = signal.Signals(-self.process.exitcode).name
            cause = ", perhaps for lack of memory" if name == "SIGKILL" else ""
            raise InputError(
                f"{self._name} was killed by {name}{cause}: run the same command again, with fewer jobs, to "
                "resume"
            )


def _run_task(
    message: "connection.Connection[str, str]",
    do: "Callable[[Machine], object]",
    machine: "Machine",
    parent: int,
) -> None:
    """Run a task in a child process; a failure is sent to the parent as a message."""
    os.setsid()  # Ctrl-C in a terminal is for the parent, which tells its children
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    locks.leave_to_parent()
    try:
        with signals.handle_signals():
            do(machine)
    except Exception as error:
        text = failure_text(error)
        if text is None:
            raise
        message.send(text)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGTERM)


def _end_with_parent(parent: int) -> None:
    """End at once when the parent is gone, as if killed: every file on disk is whole."""
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)
