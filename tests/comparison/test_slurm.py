"""Tasks as jobs of a real Slurm on this machine: what dies, and what comes of it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from clusters import PATH
from slurm_cluster import IS_HERE, SlurmCluster, free_port, wait_until
from tasks import in_background, make_tasks, time_of, wait_for

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import LineProgress, SilentProgress
from robust_tickets.comparison.executors import slurm, slurm_job, slurm_queue
from robust_tickets.comparison.executors.slurm import Slurm

pytest.importorskip("submitit")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not IS_HERE, reason="Slurm is not installed")]

MACHINE = Machine("cpu", SilentProgress())


@pytest.fixture(scope="module")
def slurm_here() -> Iterator[SlurmCluster]:
    cluster = SlurmCluster()
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(slurm_here: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    """The cluster, whose files are seen at once, and which may be asked often."""
    monkeypatch.setenv("SLURM_CONF", slurm_here.settings["SLURM_CONF"])
    monkeypatch.setattr(slurm, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(slurm, "QUEUE_SECONDS", 0.5)
    monkeypatch.setattr(slurm, "LATE_SECONDS", 2.0)
    return slurm_here


def test_tasks_run_after_those_that_they_wait_for(
    cluster: SlurmCluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tasks = make_tasks(tmp_path, {"a": "", "b": "", "c": ""}, {"b": "a"})
    Slurm().run(tasks, replace(MACHINE, progress=LineProgress()), 1)
    assert time_of(tmp_path, "a.end") <= time_of(tmp_path, "b.start")
    lines = [line for line in capfd.readouterr().err.splitlines() if "done:" not in line]
    assert sorted(lines[1:]) == ["a: a of 1", "b: b of 1", "c: c of 1"]
    assert re.fullmatch(
        r"Slurm jobs \d+ \d+ \d+: Ctrl-C cancels them, closing the terminal does not", lines[0]
    )
    assert not list(tmp_path.glob(".*"))  # files of jobs, marks of attempts


@pytest.mark.parametrize(
    ("ending", "message"), [("wrong input", "b: it makes no sense"), ("bug", "b failed by the error above")]
)
def test_the_first_failure_ends_the_rest(
    ending: str, message: str, cluster: SlurmCluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tasks = make_tasks(tmp_path, {"a": "until asked", "b": ending, "c": ""}, {"c": "a"}, {"b": "a"})
    with pytest.raises(InputError, match=message):
        Slurm().run(tasks, MACHINE, 1)
    assert (tmp_path / "a.request").exists(), "it was not asked to save its state"
    assert not (tmp_path / "c.start").exists()
    assert cluster.jobs() == []
    assert ("RuntimeError: a fault of ours" in capfd.readouterr().err) == (ending == "bug")


def test_a_job_that_is_killed_goes_on_and_one_that_always_dies_is_named(
    cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (slurm, slurm_job):
        monkeypatch.setattr(module, "DEATHS", 2)  # each takes 12 seconds
    with pytest.raises(InputError, match=r"^b: its job \d+ died 2 times, perhaps for lack of memory \(see"):
        Slurm().run(make_tasks(tmp_path, {"a": "killed once", "b": "killed"}), MACHINE, 1)
    assert (tmp_path / "a.result").read_text() == "last"


def test_jobs_save_their_state_before_slurm_ends_them_and_go_on(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    """a: its time is nearly over. b: its node is given to another job, and it is queued again."""
    tasks = make_tasks(tmp_path, {"a": "until asked once", "b": "until asked once"})
    thread = in_background(lambda: Slurm().run(tasks, MACHINE, 1))
    for name in "ab":
        wait_for(tmp_path / f"{name}.start")
    lines = cluster.ask("squeue", "--me", "--noheader", "--format=%j %i").splitlines()
    jobs = dict(line.split() for line in lines)
    cluster.ask("scancel", "--signal=USR2", jobs["a"])
    cluster.ask("scancel", "--signal=TERM", jobs["b"])
    for name in "ab":
        wait_for(tmp_path / f"{name}.request")
    cluster.ask("scontrol", "requeue", jobs["b"])
    thread.join(60)
    assert [(tmp_path / f"{name}.result").read_text() for name in "ab"] == ["last", "last"]


def test_a_job_that_the_user_cancels_is_named(cluster: SlurmCluster, tmp_path: Path) -> None:
    errors: list[str] = []

    def run() -> None:
        try:
            Slurm().run(make_tasks(tmp_path, {"a": "until asked"}), MACHINE, 1)
        except InputError as error:
            errors.append(str(error))

    thread = in_background(run)
    wait_for(tmp_path / "a.start")
    cluster.ask("scancel", *cluster.jobs())
    thread.join(60)
    assert re.match(
        r"a: its job \d+ ended without a result \(CANCELLED; see .*_log.out\): run the", errors[0]
    )


PROGRAM = """
import sys
from pathlib import Path
from tasks import make_tasks
from robust_tickets.base import signals
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import LineProgress
from robust_tickets.comparison.executors.slurm import Slurm
if __name__ == "__main__":
    with signals.exit_on_interrupt(), signals.handle_signals():
        Slurm().run(make_tasks(Path(sys.argv[1]), {"a": sys.argv[2]}), Machine("cpu", LineProgress()), 1)
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[[str], "subprocess.Popen[bytes]"]:
    """Starts a client whose task has an ending."""

    def start(ending: str) -> "subprocess.Popen[bytes]":
        program = tmp_path / "program.py"
        program.write_text(PROGRAM)
        command, env = [sys.executable, program, tmp_path, ending], os.environ | {"PYTHONPATH": PATH}
        return subprocess.Popen(command, env=env, stderr=subprocess.PIPE)

    return start


def job_of_killed_client(
    start: Callable[[str], "subprocess.Popen[bytes]"], cluster: SlurmCluster, folder: Path
) -> str:
    """The job that goes on when its client was killed."""
    with start("late") as client:
        wait_for(folder / "a.start")
        client.kill()
    (job,) = cluster.jobs()
    return job


def test_a_later_client_with_another_task_cancels_the_job_of_one_that_died(
    start: Callable[[str], "subprocess.Popen[bytes]"], cluster: SlurmCluster, tmp_path: Path
) -> None:
    job = job_of_killed_client(start, cluster, tmp_path)
    with start("") as other:  # whose task is not the same
        assert other.stderr is not None
        assert f"Slurm jobs {int(job) + 1}: " in other.stderr.readline().decode()
        assert other.wait(60) == 0
    assert (tmp_path / "a.end").exists()
    assert cluster.jobs() == []


def test_a_later_client_with_the_same_task_finds_its_job(
    start: Callable[[str], "subprocess.Popen[bytes]"], cluster: SlurmCluster, tmp_path: Path
) -> None:
    job = job_of_killed_client(start, cluster, tmp_path)
    with start("late") as second:
        assert second.stderr is not None
        assert f"Slurm jobs {job}, 1 of them found again: " in second.stderr.readline().decode()
        second.send_signal(signal.SIGINT)


def test_ctrl_c_cancels_jobs_which_save_their_state(
    start: Callable[[str], "subprocess.Popen[bytes]"], cluster: SlurmCluster, tmp_path: Path
) -> None:
    with start("until asked") as client:
        wait_for(tmp_path / "a.start")
        client.send_signal(signal.SIGINT)
        assert client.wait(60) == 130
    assert (tmp_path / "a.request").exists()
    assert cluster.jobs() == []
    assert not (tmp_path / ".slurm").exists()


def test_options_are_those_of_sbatch(cluster: SlurmCluster, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^a: Slurm refuses its job .*[Ii]nvalid partition.*: change --slurm"
    ):
        Slurm({"partition": "nowhere"}).run(make_tasks(tmp_path, {"a": ""}), MACHINE, 1)
    thread = in_background(
        lambda: Slurm({"time": "3:00", "cpus-per-task": "2"}).run(make_tasks(tmp_path, {"a": ""}), MACHINE, 1)
    )
    wait_until(lambda: bool(cluster.jobs()))
    assert cluster.ask("squeue", "--me", "--noheader", "--format=%l %C").split() == ["3:00", "2"]
    thread.join(60)
    assert (tmp_path / "a.end").exists()


def test_a_controller_that_does_not_answer_is_one_line(
    cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "slurm.conf"
    text = Path(cluster.settings["SLURM_CONF"]).read_text()
    config.write_text(re.sub(r"SlurmctldPort=\d+", f"SlurmctldPort={free_port()}", text))
    monkeypatch.setenv("SLURM_CONF", str(config))
    monkeypatch.setattr(slurm_queue, "TIMEOUT", 1.0)
    with pytest.raises(InputError, match=r"^Slurm does not answer squeue within 1 seconds \("):
        Slurm().check()
