"""Tasks side by side: in order where one waits for another, and no more than were asked for."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tasks import Noting
from tasks import __file__ as tasks_file

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import LineProgress, SilentProgress
from robust_tickets.comparison import executors
from robust_tickets.comparison.executors import Task

MACHINE = Machine("cpu", SilentProgress())


def tasks(folder: Path, **after: str) -> list[Task]:
    """A task for each name; its value names those it waits for, or how it ends."""
    names, made = list(after), []
    for name, said in after.items():
        waits = (names.index(said),) if said in names else ()
        made.append(Task(name, Noting(folder, name, "" if waits else said), waits))
    return made


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_what_waits_begins_when_what_it_waits_for_has_ended(tmp_path: Path, jobs: int) -> None:
    given = tasks(tmp_path, a="", b="a", c="", d="b")
    executors.run_tasks(given, jobs, MACHINE, 1)
    for i, task in enumerate(given):
        for before in task.after:
            assert given[before].do.when("ended") <= task.do.when("begun"), i


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_more_are_under_way_than_were_asked_for(tmp_path: Path, jobs: int) -> None:
    given = tasks(tmp_path, a="", b="", c="", d="")
    executors.run_tasks(given, jobs, MACHINE, 1)
    spans = [(t.do.when("begun"), t.do.when("ended")) for t in given]
    most = max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans)
    assert most == jobs


ENDS = {
    "wrong": r"b: it makes no sense",
    "full": r"b: some/file cannot be used: No space left on device",
    "killed": r"b was killed by SIGKILL, perhaps for want of memory: give the same command again.*fewer jobs",
    "broken": r"b ended with status 1, by the error above: mend that, then give the same command again",
}


@pytest.mark.parametrize("end", ENDS)
def test_the_first_failure_ends_the_rest_and_is_told(tmp_path: Path, end: str) -> None:
    begin = time.monotonic()
    with pytest.raises(InputError, match=ENDS[end]):
        executors.run_tasks(tasks(tmp_path, a="long", b=end, c=""), 2, MACHINE, 1)
    assert time.monotonic() - begin < 50  # the long one was not waited for
    assert not (tmp_path / "a.ended").exists()
    assert not (tmp_path / "c.begun").exists()


NAMELESS = lambda machine: None  # noqa: E731  (pickle looks it up by a name that it does not have)


def inner() -> Callable[[Machine], object]:
    def local(machine: Machine) -> None: ...

    return local


@pytest.mark.parametrize("do", [NAMELESS, inner(), threading.Lock()], ids=["lambda", "local", "lock"])
def test_what_cannot_be_handed_over_is_said_so(tmp_path: Path, do: Callable[[Machine], object]) -> None:
    given = [Task("local", do), *tasks(tmp_path, a="")]
    with pytest.raises(InputError, match=r"local cannot be handed to a process.*function of a module"):
        executors.run_tasks(given, 2, MACHINE, 1)


def test_children_say_whose_words_they_are(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = [Task(name, Noting(tmp_path, name), label=f"{name}: ") for name in ("one", "two")]
    executors.run_tasks(given, 5, replace(MACHINE, progress=LineProgress()), 1)
    said = capfd.readouterr().err.splitlines()
    theirs = sorted(line for line in said if "slow each other down" not in line)  # the parent's own word
    assert theirs == ["one: one of 2", "two: two of 2"]


def test_children_of_a_silent_machine_are_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = [Task(name, Noting(tmp_path, name), label=f"{name}: ") for name in ("one", "two")]
    executors.run_tasks(given, 2, MACHINE, 1)
    assert capfd.readouterr().err == ""


STOPPED = """
import sys
from pathlib import Path
from tasks import Noting
from robust_tickets import side_by_side, stops
from robust_tickets.progress import SilentProgress
from robust_tickets.side_by_side import Task
from robust_tickets.stages import Machine
if __name__ == "__main__":
    with stops.answered(), stops.heeded():
        tasks = [Task(n, Noting(Path(sys.argv[1]), n, "stubborn")) for n in ("a", "b", "c")]
        side_by_side.run(tasks, 3, Machine("cpu", SilentProgress()), 1)
"""


def test_a_second_signal_leaves_no_child_behind(tmp_path: Path) -> None:
    """A first one lets children keep what they have, however long that takes; a second one kills them."""
    program = tmp_path / "program.py"
    program.write_text(STOPPED)
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(tasks_file).parent), *sys.path])}
    process = subprocess.Popen([sys.executable, program, tmp_path], env=env)
    names = ("a", "b", "c")
    _until(lambda: all((tmp_path / f"{name}.begun").exists() for name in names))
    children = [int((tmp_path / f"{name}.process").read_text()) for name in names]
    process.terminate()
    _until(lambda: all((tmp_path / f"{name}.asked").exists() for name in names))
    assert all(_lives(child) for child in children)
    process.terminate()
    assert process.wait(50) == 128 + signal.SIGTERM
    assert not any(_lives(child) for child in children)


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 100
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def _lives(child: int) -> bool:
    try:
        os.kill(child, 0)
    except ProcessLookupError:
        return False
    return True
