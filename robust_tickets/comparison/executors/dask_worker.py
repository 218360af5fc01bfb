"""What a worker of a Dask cluster does with a task. The scheduler reads this module: it imports no torch."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import distributed
from distributed import get_worker
from distributed.core import Status

from robust_tickets.base import signals, streams
from robust_tickets.base.errors import InputError
from robust_tickets.base.version import __version__
from robust_tickets.comparison.executors.attempts import attempt
from robust_tickets.comparison.executors.base import failure_text
from robust_tickets.comparison.executors.private_files import Contents, PrivateRuns, Sent
from robust_tickets.comparison.executors.sending import read_task
from robust_tickets.runs import locks

if TYPE_CHECKING:
    from distributed import Worker


def versions() -> dict[str, str]:
    """The versions that must be the same in the client and in all workers."""
    return {"robust-tickets": __version__, "torch": version("torch")}


def do_task(
    content: bytes,
    name: str,
    folder: str,
    topic: str,
    wanted: dict[str, str],
    sent: Sent | None,
    *before: Contents | None,
) -> Contents | None:
    """Do a task in a worker's thread; gives the files that it wrote, where they are not shared.

    content: what to call and the machine to call it with, pickled, so that the scheduler need not read them.
    folder: of the client, where the task writes; "": nowhere.
    topic: under which the client hears that the task begins, and the lines that it would write to stderr.
    wanted: the client's versions.
    sent: what it needs of the client's files; None: files are shared.
    before: what the tasks gave that it waits for.

    Raises InputError with a line on what went wrong.
    """
    worker = get_worker()
    _check(worker, wanted)
    key = worker.get_current_task()
    worker.log_event(topic, {"begin": key})
    tasks = worker.state.tasks

    def send(line: str) -> None:
        worker.log_event(topic, {"line": line})

    def is_unwanted() -> bool:
        """Whether the worker is leaving, or nobody waits for the task any more."""
        task = tasks.get(key)
        return worker.status is not Status.running or task is None or task.state != "executing"

    locks.leave_to_parent()
    try:
        with signals.listening(is_unwanted), streams.lines_to(send):
            target, root, private = Path(folder) if folder else None, None, None
            if sent is not None and target is not None:
                private = PrivateRuns(f"{sent.host} {folder} {name}")
                for files in (sent.files, *before):
                    private.fill(files or {})
                root, target = private.path, private.path / target.name
            do, machine = read_task(content, f"the worker {worker.address}", root)
            with attempt(target, name):
                do(machine)
            return None if private is None else private.take()
    except signals.StopRequest:
        raise distributed.Reschedule from None
    except Exception as error:
        text = failure_text(error)
        if text is None:
            raise
        raise InputError(text) from None


def _check(worker: "Worker", wanted: dict[str, str]) -> None:
    """Raise InputError for a worker of other versions, or one that would run several tasks in one process."""
    for package, own in versions().items():
        if own != wanted[package]:
            raise InputError(
                f"the worker {worker.address} has {package} {own}, and this command {wanted[package]}: "
                "install the same in both"
            )
    if worker.state.nthreads != 1:
        raise InputError(
            f"the worker {worker.address} has {worker.state.nthreads} threads, which would train several "
            "networks in one process: start it by `dask worker --nthreads 1`, with --nworkers N for several "
            "at a time"
        )
