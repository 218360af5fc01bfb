"""Tasks on a Dask cluster, with real workers on this machine: what dies, and what comes of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from clusters import PATH, Cluster
from tasks import in_background, make_tasks, time_of, wait_for

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import LineProgress, SilentProgress
from robust_tickets.comparison.executors import dask, dask_worker
from robust_tickets.comparison.executors.base import Task
from robust_tickets.comparison.executors.dask import Dask

distributed = pytest.importorskip("distributed")
# of sockets that distributed leaves to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

MACHINE = Machine("cpu", SilentProgress())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers, which several tests share."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    cluster.add_worker("--nworkers", "2")
    with distributed.Client(scheduler_file=str(cluster.file), set_as_default=False) as client:
        client.wait_for_workers(2)
    yield cluster
    cluster.close()


@pytest.fixture
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Cluster]]:
    """Starts clusters of which a test may kill a part."""
    clusters: list[Cluster] = []

    def start(**settings: str) -> Cluster:
        clusters.append(Cluster(tmp_path_factory.mktemp("cluster"), **settings))
        return clusters[-1]

    yield start
    for each in clusters:
        each.close()


def test_tasks_run_at_a_time_and_after_those_that_they_wait_for(cluster: Cluster, tmp_path: Path) -> None:
    cluster.executor().run(make_tasks(tmp_path, {"a": "", "b": "", "c": ""}, {"b": "a"}), MACHINE, 1)
    assert time_of(tmp_path, "a.end") <= time_of(tmp_path, "b.start")
    assert time_of(tmp_path, "c.start") < time_of(tmp_path, "a.end")
    assert not list(tmp_path.glob(".*"))  # marks of attempts


def test_what_is_done_needs_no_cluster(tmp_path: Path) -> None:
    tasks = [replace(task, is_done=lambda: True) for task in make_tasks(tmp_path, {"a": ""})]
    Dask(address="tcp://127.0.0.1:9").run(tasks, MACHINE, 1)
    assert (tmp_path / "a.end").exists()


def test_lines_of_tasks_come_to_the_client_once(
    cluster: Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tasks = make_tasks(tmp_path, {"a": "", "b": ""})
    cluster.executor().run(tasks, replace(MACHINE, progress=LineProgress()), 1)
    lines = [line for line in capfd.readouterr().err.splitlines() if "done:" not in line]
    assert sorted(lines) == ["a: a of 2", "b: b of 2"]


FAILURES = {
    "wrong input": "b: it makes no sense",
    "full disk": "b: some/file cannot be used: No space left on device",
    "no memory": r"b: out of memory \(of 8 GiB\)",
    "bug": "b failed by the error above",
}


@pytest.mark.parametrize("ending", FAILURES)
def test_the_first_failure_ends_the_rest(
    ending: str, cluster: Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tasks = make_tasks(tmp_path, {"a": "until asked", "b": ending, "c": ""}, {"c": "a"}, {"b": "a"})
    with pytest.raises(InputError, match=FAILURES[ending]):
        cluster.executor().run(tasks, MACHINE, 1)
    assert (tmp_path / "a.request").exists(), "it was not asked to save its state"
    assert not (tmp_path / "c.start").exists()
    assert ("RuntimeError: a fault of ours" in capfd.readouterr().err) == (ending == "bug")


def test_a_task_that_cannot_be_sent_is_named(cluster: Cluster) -> None:
    with pytest.raises(InputError, match=r"^local cannot be sent to a worker .*function of a module"):
        cluster.executor().run([Task("local", lambda machine: None)], MACHINE, 1)


def test_a_worker_of_another_version_is_refused_with_both(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = dask_worker.versions() | {"torch": "1.0"}
    monkeypatch.setattr(dask_worker, "versions", lambda: wanted)
    with pytest.raises(InputError, match=r"worker tcp://.* has torch 2\..*, and this command 1\.0: install"):
        cluster.executor().run(make_tasks(tmp_path, {"a": ""}), MACHINE, 1)
    assert not list(tmp_path.iterdir())


def test_a_scheduler_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "TIMEOUT", 0.5)
    with pytest.raises(InputError, match=r"the scheduler tcp://127\.0\.0\.1:9 does not answer within 0\.5 s"):
        Dask(address="tcp://127.0.0.1:9").run(make_tasks(tmp_path, {"a": ""}), MACHINE, 1)


def test_a_worker_of_several_threads_is_refused(own_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    own = own_cluster()
    own.add_worker("--nthreads", "2")
    with pytest.raises(InputError, match="has 2 threads, which would train several networks in one process"):
        own.executor().run(make_tasks(tmp_path, {"a": ""}), MACHINE, 1)


@pytest.mark.slow
def test_trainings_on_gpus_go_to_workers_that_declare_one(
    own_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    own = own_cluster()
    own.add_worker("--name", "without")
    with_gpu = own.add_worker("--name", "with", "--resources", "GPU=1", "--no-nanny")
    with distributed.Client(scheduler_file=str(own.file), set_as_default=False) as client:
        client.wait_for_workers(2)
    own.executor().run(
        make_tasks(tmp_path, {"a": "", "b": "", "c": ""}), Machine("cuda:0", SilentProgress()), 1
    )
    assert {(tmp_path / f"{name}.process").read_text() for name in "abc"} == {str(with_gpu.pid)}


@pytest.mark.slow
def test_a_task_whose_worker_is_killed_goes_on_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    cluster.executor().run(make_tasks(tmp_path, {"a": "killed once", "b": ""}), MACHINE, 1)
    assert (tmp_path / "a.result").read_text() == "last"


@pytest.mark.slow
def test_a_task_that_kills_four_workers_is_named(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^a: its worker died 4 times"):
        cluster.executor().run(make_tasks(tmp_path, {"a": "killed"}), MACHINE, 1)


@pytest.mark.slow
def test_a_worker_that_is_asked_to_leave_saves_its_state_first(
    own_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    own = own_cluster()
    leaving = own.add_worker()
    tasks = make_tasks(tmp_path, {"a": "until asked once"})
    thread = in_background(lambda: own.executor().run(tasks, MACHINE, 1))
    wait_for(tmp_path / "a.start")
    leaving.terminate()
    wait_for(tmp_path / "a.request")
    own.add_worker()
    thread.join(60)
    assert (tmp_path / "a.result").read_text() == "last"


@pytest.mark.slow
def test_a_paused_worker_that_wakes_changes_nothing_that_another_wrote(
    own_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    own = own_cluster(DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="2s")
    paused = own.add_worker("--no-nanny")  # which would end it
    tasks = make_tasks(tmp_path, {"a": "paused once"})
    thread = in_background(lambda: own.executor().run(tasks, MACHINE, 1))
    wait_for(tmp_path / "a.first")
    own.add_worker()
    thread.join(60)
    assert (tmp_path / "a.result").read_text() == "last"
    paused.send_signal(signal.SIGCONT)  # it goes on to write "first", unless it leaves before
    time.sleep(3)
    assert (tmp_path / "a.result").read_text() == "last"


@pytest.mark.slow
def test_a_scheduler_that_is_killed_is_one_line(
    own_cluster: Callable[..., Cluster], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = own_cluster()
    own.add_worker()
    tasks, errors = make_tasks(tmp_path, {"a": "until asked"}), []

    def run() -> None:
        try:
            own.executor().run(tasks, MACHINE, 1)
        except InputError as error:
            errors.append(str(error))

    thread = in_background(run)
    wait_for(tmp_path / "a.start")
    own.scheduler.kill()
    thread.join(60)
    assert errors == ["a: the scheduler is gone: start it again, then run the same command again to resume"]
    assert "Traceback" not in capfd.readouterr().err


PROGRAM = """
import sys
from pathlib import Path
from tasks import NotedTask
from robust_tickets.base import signals
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.comparison.executors.base import Task
from robust_tickets.comparison.executors.dask import Dask
if __name__ == "__main__":
    folder, *files = map(Path, sys.argv[1:])
    task = Task("a", NotedTask(folder, "a", "until asked"), folder=folder)
    with signals.exit_on_interrupt(), signals.handle_signals():
        Dask(scheduler_file=files[0] if files else None).run([task], Machine("cpu", SilentProgress()), 1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_without_its_client_a_task_saves_its_state_and_ends(
    number: signal.Signals, cluster: Cluster, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command, env = [sys.executable, program, tmp_path, cluster.file], os.environ | {"PYTHONPATH": PATH}
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as client:
        try:
            wait_for(tmp_path / "a.start")
            client.send_signal(number)
            wait_for(tmp_path / "a.request", 60)
            client.wait(60)
        finally:
            client.kill()
    assert not (tmp_path / "a.end").exists()


@pytest.mark.slow
def test_ctrl_c_ends_a_cluster_of_this_machine_with_one_line(tmp_path: Path) -> None:
    """A terminal sends it to the workers too, which save their state as their client asks them to."""
    program, err = tmp_path / "program.py", tmp_path / "err"
    program.write_text(PROGRAM)
    command, env = [sys.executable, program, tmp_path], os.environ | {"PYTHONPATH": PATH}
    with err.open("wb") as file, subprocess.Popen(command, env=env, stderr=file, process_group=0) as client:
        try:
            wait_for(tmp_path / "a.start")
            os.killpg(client.pid, signal.SIGINT)
            assert client.wait(60) == 130
        finally:
            with suppress(ProcessLookupError):
                os.killpg(client.pid, signal.SIGKILL)
    assert (tmp_path / "a.request").exists(), "it was not asked to save its state"
    assert err.read_text() == "robust-tickets: stopped by SIGINT; run the same command again to resume\n"
