"""Tasks that other processes can import."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from robust_tickets.base import signals
from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.comparison.executors.base import Task
from robust_tickets.runs import files

EMPTY: Mapping[str, str] = {}


@dataclass(frozen=True)
class NotedTask:
    """Notes its process, its start and its end in a folder.

    ending: how it ends.
    beside: the task that must have started before it ends.
    """

    folder: Path
    name: str
    ending: str = ""
    beside: str = ""

    def __call__(self, machine: Machine) -> None:
        self._note("process", os.getpid())
        self._note("start", time.time())
        self._note("device", machine.device)
        machine.progress.log(f"{self.name} of {machine.jobs}")
        if self.beside:
            wait_for(self.folder / f"{self.beside}.start")
        if self.ending == "wrong input":
            raise InputError("it makes no sense")
        if self.ending == "full disk":
            raise OSError(28, "No space left on device", "some/file")
        if self.ending == "no memory":
            raise MemoryError("of 8 GiB")
        if self.ending == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.ending == "bug":
            raise RuntimeError("a fault of ours")
        if self.ending == "never":
            with signals.deferred():  # as a step that does not return
                while True:
                    time.sleep(0.1)
                    if signals.stop_requested():
                        self._note("request", "")
        if self.ending in ("killed once", "paused once") and self._is_first():
            os.kill(os.getpid(), signal.SIGKILL if self.ending == "killed once" else signal.SIGSTOP)
            files.write_text(self.folder / f"{self.name}.result", "first")
            return
        if self.ending == "until asked" or (self.ending == "until asked once" and self._is_first()):
            while not signals.stop_requested():
                time.sleep(0.05)
            self._note("request", "")
            signals.raise_if_requested()
        time.sleep(60 if self.ending == "late" else 0.5)
        files.write_text(self.folder / f"{self.name}.result", "last")
        self._note("end", time.time())

    def _is_first(self) -> bool:
        """Whether no earlier attempt was made; this one is from now on."""
        mark = self.folder / f"{self.name}.first"
        if mark.exists():
            return False
        mark.touch()
        return True

    def _note(self, event: str, value: object) -> None:
        part = self.folder / f"{self.name}.part"
        part.write_text(str(value))
        part.rename(self.folder / f"{self.name}.{event}")

    def time_of(self, event: str) -> float:
        return float((self.folder / f"{self.name}.{event}").read_text())


def make_tasks(
    folder: Path,
    endings: Mapping[str, str],
    after: Mapping[str, str] = EMPTY,
    beside: Mapping[str, str] = EMPTY,
) -> list[Task]:
    """A task for each name, with its ending.

    after: the one whose end a task waits for before it starts.
    beside: the one whose start a task waits for before it ends.
    """
    places = {name: place for place, name in enumerate(endings)}
    before = {name: (places[other],) for name, other in after.items()}
    return [
        Task(
            name,
            NotedTask(folder, name, ending, beside.get(name, "")),
            before.get(name, ()),
            f"{name}: ",
            folder=folder,
        )
        for name, ending in endings.items()
    ]


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def time_of(folder: Path, note: str) -> float:
    return float((folder / note).read_text())


def wait_for(file: Path, seconds: float = 100) -> None:
    end = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < end, f"there is no {file}"
        time.sleep(0.05)
