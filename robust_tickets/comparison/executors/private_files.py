"""Files that go with a task to a worker that shares no folder with the client, and results that come back.

On the worker each task has a folder of runs for itself, which is removed once its files go back. Where the
task fails or is stopped the folder stays, and the same task goes on from it. The scheduler reads this module:
it imports no torch.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from robust_tickets.base.errors import InputError
from robust_tickets.runs import files
from robust_tickets.runs.arm_directory import LEDGER
from robust_tickets.runs.directory import INPUTS, MACHINE, RunDirectory

Contents = dict[str, bytes]
"""Contents of files, by their path in the folder of the runs."""


@dataclass(frozen=True)
class Sent:
    """What goes with a task: the client's host, by which its tasks are told from others', and files."""

    host: str
    files: Contents


def read_files(paths: Iterable[Path], runs: Path) -> Contents:
    """The contents of files, and of all files in folders, without hidden ones."""
    found: Contents = {}
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(runs).parts):
                found[file.relative_to(runs).as_posix()] = file.read_bytes()
    return found


def write_files(contents: Mapping[str, bytes], runs: Path) -> None:
    """Write files, ledgers last, as they say that their folders are whole."""
    for name in sorted(contents, key=lambda name: (Path(name).name == LEDGER, name)):
        files.write_bytes(runs / name, contents[name])


class PrivateRuns:
    """A worker's folder of runs for one task.

    task: all that tells the task from others.
    """

    def __init__(self, task: str) -> None:
        own = Path(tempfile.gettempdir(), f"robust-tickets-{os.getuid()}")
        own.mkdir(mode=0o700, exist_ok=True)
        if own.stat().st_uid != os.getuid():
            raise InputError(f"{own} is another user's: start workers with another TMPDIR")
        self.path = own / hashlib.sha256(task.encode()).hexdigest()[:16]
        self._before: dict[Path, tuple[int, int]] = {}

    def fill(self, contents: Mapping[str, bytes]) -> None:
        """Write what the client sent and what earlier tasks gave, over what is there."""
        self.path.mkdir(exist_ok=True)
        write_files(contents, self.path)
        self._before |= {self.path / name: _stamp(self.path / name) for name in contents}

    def take(self) -> Contents:
        """What the task has written, which is removed here."""
        new = [
            file for file in self.path.rglob("*") if file.is_file() and self._before.get(file) != _stamp(file)
        ]
        contents = read_files(new, self.path)
        shutil.rmtree(self.path, ignore_errors=True)
        return contents


def take_results(contents: Contents, runs: Path) -> None:
    """Write the results of a task where the client has its runs; machines and inputs add up."""
    with tempfile.TemporaryDirectory() as place:
        other = Path(place)
        described = {name for name in contents if Path(name).name in (MACHINE, INPUTS)}
        write_files({name: content for name, content in contents.items() if name not in described}, runs)
        for run in sorted({Path(name).parent for name in described}):
            shared = {name for name in described if Path(name).parent == run}
            missing = {name for name in shared if not (runs / name).exists()}
            write_files({name: contents[name] for name in missing}, runs)
            write_files({name: contents[name] for name in shared}, other)
            directory = RunDirectory.open(runs / run)
            directory.take_over(RunDirectory(other / run, directory.recipe))


def _stamp(file: Path) -> tuple[int, int]:
    about = file.stat()
    return about.st_size, about.st_mtime_ns
