"""Tasks on workers that do not see the client's files: what goes with them, and what comes back."""

import json

import pytest
from clusters import Cluster
from tasks import NotedTask, make_tasks

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.comparison.executors.base import Task
from robust_tickets.comparison.executors.choose import choose_executor
from robust_tickets.comparison.executors.dask import Dask
from robust_tickets.comparison.executors.private_files import PrivateRuns, read_files, take_results
from robust_tickets.comparison.executors.sending import pickle_task, read_task
from robust_tickets.runs import files

MACHINE = Machine("cpu", SilentProgress())


def test_files_are_read_by_their_place_and_hidden_ones_are_not(tmp_path):
    for name in ("run/env.json", "run/seed-0/dense/last", "run/.lock", "run/seed-0/.states/step", "other/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    run = tmp_path / "run"
    assert read_files([run / "env.json", run / "seed-0", run / "nothing"], tmp_path) == {
        "run/env.json": b"run/env.json",
        "run/seed-0/dense/last": b"run/seed-0/dense/last",
    }


def test_what_a_task_has_written_is_taken_and_nothing_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    private = PrivateRuns("a task")
    private.fill({"run/old": b"1", "run/changed": b"1"})
    private.fill({"run/other": b"1"})
    (private.path / "run/changed").write_bytes(b"22")
    (private.path / "run/new").write_bytes(b"3")
    assert private.take() == {"run/changed": b"22", "run/new": b"3"}
    assert not private.path.exists()
    assert PrivateRuns("another").path != private.path


def test_a_folder_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("os.getuid", lambda: 1234)
    with pytest.raises(InputError, match="robust-tickets-1234 is another user's: start workers with another"):
        PrivateRuns("a task")


def test_paths_of_the_runs_are_moved_and_others_are_not(tmp_path):
    runs, there = tmp_path / "runs", tmp_path / "there"
    for folder, expected in ((runs / "run", there / "run"), (tmp_path / "data", tmp_path / "data")):
        content = pickle_task(Task("a", NotedTask(folder, "a")), MACHINE, runs)
        do, machine = read_task(content, "the worker", there)
        assert do == NotedTask(expected, "a")
        assert machine.device == "cpu"
    unmoved = pickle_task(Task("a", NotedTask(runs, "a")), MACHINE)
    assert read_task(unmoved, "the worker")[0] == NotedTask(runs, "a")


def test_ledgers_are_written_last_and_machines_and_inputs_add_up(tmp_path, tiny_recipe, monkeypatch):
    from robust_tickets.recipe import recipe as recipes

    own = {"device": "cpu", "torch": "2.14", "cpu": "one", "vectors": "AVX2"}
    other = own | {"cpu": "another"}
    order = []
    write = files.write_bytes

    def noted(path, content):
        order.append(path.name)
        write(path, content)

    monkeypatch.setattr(files, "write_bytes", noted)

    def result(machine, inputs, more=()):
        return {
            "run/env.json": json.dumps(machine).encode(),
            "run/inputs.json": json.dumps(inputs).encode(),
            "run/recipe.toml": recipes.to_toml(tiny_recipe).encode(),
            **dict.fromkeys(more, b"{}"),
        }

    first = result(own, {"images": "a"}, ["run/seed-0/dense/ledger.json", "run/seed-0/dense/z"])
    take_results(first, tmp_path)
    assert order.index("z") < order.index("ledger.json")
    take_results(result(other, {"net": "b"}), tmp_path)
    take_results(result(other, {"images": "a"}), tmp_path)
    assert json.loads((tmp_path / "run/env.json").read_text()) == own | {"others": [other]}
    assert json.loads((tmp_path / "run/inputs.json").read_text()) == {"images": "a", "net": "b"}


def test_it_is_of_dask_alone():
    with pytest.raises(InputError, match="files are not sent to jobs of Slurm"):
        choose_executor(name="slurm", shared_files=False)
    with pytest.raises(InputError, match="files are not sent anywhere: leave out --no-shared-files"):
        choose_executor(jobs=2, shared_files=False)
    assert not choose_executor(jobs=2, name="dask", shared_files=False).is_here


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of sockets that distributed leaves behind
def test_a_cluster_does_tasks_in_folders_of_its_own(tmp_path):
    pytest.importorskip("distributed")
    there, runs = tmp_path / "there", tmp_path / "runs"
    there.mkdir()
    cluster = Cluster(tmp_path, TMPDIR=str(there))
    try:
        cluster.add_worker("--nworkers", "2")
        executor = Dask(scheduler_file=cluster.file, shared_files=False)
        # a file that says whether an earlier attempt was made is not the client's
        tasks = make_tasks(runs / "run", {"a": "killed once", "b": ""}, {"b": "a"})
        executor.run(tasks, MACHINE, 1)
        assert (runs / "run/a.result").read_text() == "last"
        assert (runs / "run/b.end").exists()
        assert not list(there.rglob("*.end"))
        with pytest.raises(InputError, match=r"^c: it makes no sense"):
            executor.run(make_tasks(runs / "run", {"c": "wrong input"}), MACHINE, 1)
        assert not (runs / "run/c.start").exists()
        assert list(there.rglob("c.start"))  # where the task would go on
    finally:
        cluster.close()
