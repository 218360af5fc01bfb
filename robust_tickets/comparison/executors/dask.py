"""Runs tasks on a Dask cluster: each is a future, and those that it waits for are its arguments."""

import logging
import socket
import traceback
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from time import sleep
from typing import TYPE_CHECKING, Any

from robust_tickets.base.errors import InputError
from robust_tickets.base.idle_threads import no_spinning_in_children
from robust_tickets.base.progress import Tasks
from robust_tickets.base.signals import no_interrupts_in_children
from robust_tickets.base.streams import complain
from robust_tickets.comparison.executors.base import Executor, Task
from robust_tickets.comparison.executors.private_files import Sent, read_files, take_results
from robust_tickets.comparison.executors.processes import end_importing_child
from robust_tickets.comparison.executors.sending import do_finished, needed_files, pickle_task

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

    from robust_tickets.base.machine import Machine

TIMEOUT = 10.0
"""Seconds in which a scheduler must answer."""

_INSTALL = "--executor dask needs packages that are not installed: pip install 'robust-tickets[cluster]'"


class Dask(Executor):
    """Runs tasks on the workers of a Dask cluster, which share the files of this machine.

    A worker that dies costs its task what came after its last state: another worker goes on from there.

    jobs: how many workers a cluster of its own has, on this machine.
    shared_files: whether workers see the folder of the runs. Where they do not, files go with the tasks, and
        results come back; a worker that dies then costs its task all that it did.
    address: of a scheduler that runs, as tcp://HOST:8786; "": it starts a cluster.
    scheduler_file: that a scheduler has written, with its address; None: there is none.
    """

    def __init__(
        self,
        jobs: int = 1,
        address: str = "",
        scheduler_file: Path | None = None,
        shared_files: bool = True,
    ) -> None:
        self._starts = not address and scheduler_file is None
        self.is_here = self._starts and shared_files
        self.jobs = jobs if self._starts else max(jobs, 2)
        self._shared_files = shared_files
        self._address, self._file = address, scheduler_file

    def check(self) -> None:
        """End this process where it is a worker that only imports the script that starts it."""
        end_importing_child()
        try:
            import distributed  # noqa: F401 (with what it imports)
        except ImportError:
            raise InputError(_INSTALL) from None

    def run(self, tasks: Sequence[Task], machine: "Machine", threads: int) -> None:
        """Run all tasks that are not done already; without any, no cluster is asked for."""
        with machine.progress.tasks([task.weight for task in tasks]) as progress:
            done = do_finished(tasks, machine, progress)
            if len(done) < len(tasks):
                with _quiet_logs(), self._client() as client:
                    _Submitted(client, tasks, done, machine, progress, self._shared_files).wait()

    @contextmanager
    def _client(self) -> "Iterator[Client]":
        """A client of the cluster. Raises InputError where none answers."""
        from distributed import Client

        if self._starts:
            with self._cluster() as cluster, Client(cluster) as client:
                yield client
            return
        where = self._address or f"of {self._file}"
        try:
            known = {"address": self._address} if self._address else {"scheduler_file": str(self._file)}
            client = Client(timeout=TIMEOUT, set_as_default=False, **known)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"the scheduler {where} does not answer within {TIMEOUT:g} seconds ({reason:.150}): start it "
                "by `dask scheduler`, or check the address"
            ) from None
        with client:
            yield client

    def _cluster(self) -> "LocalCluster":
        """A cluster on this machine. Raises InputError where its workers do not start."""
        from distributed import LocalCluster

        try:
            with no_spinning_in_children(), no_interrupts_in_children():
                return LocalCluster(
                    n_workers=self.jobs,
                    threads_per_worker=1,
                    memory_limit=0,  # a worker is not to be ended for memory that its training needs
                    dashboard_address=None,
                    scheduler_kwargs={"dashboard_address": ":0"},  # a warning where others use its port
                    silence_logs=logging.CRITICAL,
                )
        except (RuntimeError, OSError) as error:
            raise InputError(
                f"workers do not start on this machine ({error!s:.100}): in a script, put the calls under "
                '`if __name__ == "__main__":`, since each worker imports the script'
            ) from None


@contextmanager
def _quiet_logs() -> "Iterator[None]":
    """Keep tracebacks of lost connections off the terminal: messages say what to do."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    levels = {name: logging.getLogger(name).level for name in names}  # parts have levels of their own
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


class _Submitted:
    """Tasks that were submitted to a cluster; its client hears when they begin and end."""

    def __init__(
        self,
        client: "Client",
        tasks: Sequence[Task],
        done: set[int],
        machine: "Machine",
        progress: Tasks,
        shared_files: bool,
    ) -> None:
        from robust_tickets.comparison.executors import dask_worker

        self._client, self._tasks, self._progress = client, tasks, progress
        self._shared_files = shared_files
        self._news: SimpleQueue[tuple[str, str]] = SimpleQueue()
        topic = f"robust-tickets {uuid.uuid4().hex}"
        self._places: dict[str, int] = {}
        self._begun: set[int] = set()
        client.subscribe_topic(topic, lambda event: self._news.put(*event[1].items()))
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            machine.progress.warn_once("the cluster has no workers yet: its tasks wait for them")
        beside = max(Counter(worker["host"] for worker in workers.values()).values(), default=1)
        declared = any("GPU" in worker["resources"] for worker in workers.values())
        gpus = {"GPU": 1} if declared and machine.device != "cpu" else None
        futures: dict[int, Future] = {}
        for i, task in enumerate(tasks):
            if i in done:
                continue
            there = replace(machine.share(beside, ()), progress=machine.progress.of_child(task.label))
            folder = task.folder.resolve() if task.folder is not None else None
            runs = None if shared_files or folder is None else folder.parent
            key = f"{task.name} {uuid.uuid4().hex}"
            self._places[key] = i
            futures[i] = client.submit(
                dask_worker.do_task,
                pickle_task(task, there, runs),
                task.name,
                "" if folder is None else str(folder),
                topic,
                dask_worker.versions(),
                None if runs is None else Sent(socket.gethostname(), read_files(needed_files(task), runs)),
                *(futures[before] for before in task.after if before not in done),
                key=key,
                pure=False,
                priority=-i,
                resources=gpus,
            )
            futures[i].add_done_callback(lambda future: self._news.put(("end", future.key)))
        self._futures = futures

    def wait(self) -> None:
        """Wait until all are done. Raises InputError as the first that fails does; the others then stop."""
        left = set(self._futures)
        try:
            while left:
                news, text = self._news.get()
                if news == "line":
                    complain(text)
                    continue
                place = self._places[text]
                if news == "begin":
                    self._begin(place)
                    continue
                self._check(place)
                self._take_results(place)
                self._begin(place)
                left.remove(place)
                self._progress.end(place, self._tasks[place].summary())
        finally:
            self._stop()

    def _take_results(self, place: int) -> None:
        """Write the files that a task sent back."""
        folder = self._tasks[place].folder
        if not self._shared_files and folder is not None:
            take_results(self._futures[place].result(), folder.resolve().parent)

    def _begin(self, place: int) -> None:
        if place not in self._begun:
            self._begun.add(place)
            self._progress.begin(place, self._tasks[place].name)

    def _check(self, place: int) -> None:
        """Raise InputError where a task has failed."""
        from distributed import KilledWorker

        future, name = self._futures[place], self._tasks[place].name
        if future.status == "finished":
            return
        if future.status != "error":  # cancelled or lost, as the client itself cancels later
            raise InputError(
                f"{name}: the scheduler is gone: start it again, then run the same command again to resume"
            )
        error = future.exception()
        if isinstance(error, KilledWorker):
            raise InputError(
                f"{name}: its worker died {error.allowed_failures + 1} times, perhaps for lack of memory: "
                "run the same command again, with fewer workers, to resume"
            )
        if not isinstance(error, InputError):
            complain("".join(traceback.format_exception(error)))
            raise InputError(
                f"{name} failed by the error above: fix that, then run the same command again to resume"
            )
        raise InputError(f"{name}: {error}")

    def _stop(self) -> None:
        """Cancel what is under way, and wait until it has saved its state."""
        unfinished = [future for future in self._futures.values() if not future.done()]
        if not unfinished or self._client.status != "running":
            return
        keys = set(self._places)
        self._client.cancel(unfinished)
        while any(self._client.run(_is_busy, keys).values()):
            sleep(0.1)


def _is_busy(keys: set[str], dask_worker: Any) -> bool:
    """Whether one of these tasks runs in a worker."""
    return any(key in keys for key in dask_worker.active_threads.values())
