"""Tasks in several processes: in order where one waits for another, and no more at a time than asked for."""

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
from tasks import NotedTask

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import LineProgress, SilentProgress
from robust_tickets.comparison.executors.base import Task
from robust_tickets.comparison.executors.choose import choose_executor

MACHINE = Machine("cpu", SilentProgress())
TALKATIVE = replace(MACHINE, progress=LineProgress())


def make_tasks(folder: Path, **options: str) -> list[Task]:
    """A task for each name; its value is the name of the task that it waits for, or its ending."""
    names = list(options)
    return [
        Task(name, NotedTask(folder, name), (names.index(option),), f"{name}: ")
        if option in names
        else Task(name, NotedTask(folder, name, option), label=f"{name}: ")
        for name, option in options.items()
    ]


def notes(task: Task) -> NotedTask:
    assert isinstance(task.do, NotedTask)
    return task.do


@pytest.mark.parametrize("jobs", [1, 2])
def test_at_most_so_many_tasks_run_at_a_time_and_in_order(tmp_path: Path, jobs: int) -> None:
    tasks = make_tasks(tmp_path, a="", b="a", c="", d="")
    choose_executor(jobs).run(tasks, MACHINE, 1)
    for task in tasks:
        for before in task.after:
            assert notes(tasks[before]).time_of("end") <= notes(task).time_of("start")
    spans = [(notes(task).time_of("start"), notes(task).time_of("end")) for task in tasks]
    at_a_time = max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)
    assert at_a_time == jobs


def test_tasks_that_run_at_a_time_are_on_different_devices(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path, a="", b="")
    choose_executor(2).run(tasks, replace(MACHINE, device="gpu:1", devices=("gpu:1", "gpu:0")), 1)
    assert [(tmp_path / f"{name}.device").read_text() for name in "ab"] == ["gpu:1", "gpu:0"]


ENDINGS = {
    "wrong input": r"b: it makes no sense",
    "full disk": r"b: some/file cannot be used: No space left on device",
    "no memory": r"b: out of memory \(of 8 GiB\): .*fewer jobs; what is done is kept",
    "killed": r"b was killed by SIGKILL, .*memory.*same command",
    "bug": r"b ended with status 1, .*error above.*same command",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_first_failure_is_reported_and_ends_the_rest(tmp_path: Path, ending: str) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match=ENDINGS[ending]):
        choose_executor(2).run(make_tasks(tmp_path, a="late", b=ending, c=""), MACHINE, 1)
    assert time.monotonic() - start < 50, "the late task was waited for"
    assert not (tmp_path / "a.end").exists()
    assert not (tmp_path / "c.start").exists()


NAMELESS = lambda machine: None  # noqa: E731  (pickle finds no such name)


def inner() -> Callable[[Machine], object]:
    def local(machine: Machine) -> None: ...

    return local


@pytest.mark.parametrize("do", [NAMELESS, inner(), threading.Lock()], ids=["lambda", "local", "lock"])
def test_a_task_that_cannot_be_pickled_is_named(tmp_path: Path, do: Callable[[Machine], object]) -> None:
    with pytest.raises(InputError, match=r"local cannot .*function of a module"):
        choose_executor(2).run([Task("local", do), *make_tasks(tmp_path, a="")], MACHINE, 1)


@pytest.mark.parametrize(("machine", "lines"), [(TALKATIVE, ["a: a of 2", "b: b of 2"]), (MACHINE, [])])
def test_lines_of_a_task_begin_with_its_label(
    machine: Machine, lines: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    choose_executor(2).run(make_tasks(tmp_path, a="", b=""), machine, 1)
    err = capfd.readouterr().err.splitlines()
    assert sorted(line for line in err if "jobs of" not in line and "done:" not in line) == lines


def test_more_threads_than_cores_are_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cores = os.cpu_count() or 1
    choose_executor(2).run(make_tasks(tmp_path, a="", b=""), TALKATIVE, cores)
    assert f"2 jobs of {cores} threads on {cores} cores" in capfd.readouterr().err


SCRIPT = """
import sys
import robust_tickets as rt
print("begin", flush=True)
rt.compare(
    recipe="demo", jobs=2, runs=sys.argv[1], data={"train_images": 128, "val_images": 10},
    model={"name": "lenet-300-100"}, compute={"threads": 1},
)
"""


def test_a_script_that_lacks_its_guard_is_told_so(tmp_path: Path) -> None:
    """Each job imports the script, and would compare too."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    result = subprocess.run([sys.executable, script, tmp_path / "runs"], capture_output=True, text=True)
    assert 'put the script\'s calls under `if __name__ == "__main__":`' in result.stderr.splitlines()[-1]
    assert result.stderr.count("Traceback") == 1
    assert "another process" not in result.stderr


PROGRAM = """
import sys
from pathlib import Path
from tasks import NotedTask
from robust_tickets.base import signals
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.comparison.executors.base import Task
from robust_tickets.comparison.executors.choose import choose_executor
if __name__ == "__main__":
    with signals.exit_on_interrupt(), signals.handle_signals():
        tasks = [Task(name, NotedTask(Path(sys.argv[1]), name, "never")) for name in "abc"]
        choose_executor(3).run(tasks, Machine("cpu", SilentProgress()), 1)
"""


def test_a_second_signal_leaves_no_child_behind(tmp_path: Path) -> None:
    """After the first one, children may finish their step; the second one kills them."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    with subprocess.Popen([sys.executable, program, tmp_path], env=env) as process:
        wait_for(process, *(tmp_path / f"{name}.start" for name in "abc"))
        children = [int((tmp_path / f"{name}.process").read_text()) for name in "abc"]
        process.terminate()
        wait_for(process, *(tmp_path / f"{name}.request" for name in "abc"))
        assert all(is_alive(child) for child in children)
        process.terminate()
        assert process.wait(50) == 128 + signal.SIGTERM
    assert not any(is_alive(child) for child in children)


def wait_for(process: subprocess.Popen[bytes], *files: Path) -> None:
    end = time.monotonic() + 100
    while not all(file.exists() for file in files):
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            pytest.fail("the program did not get that far")
        time.sleep(0.05)


def is_alive(child: int) -> bool:
    try:
        os.kill(child, 0)
    except ProcessLookupError:
        return False
    return True
