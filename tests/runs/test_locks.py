"""One process at a time works in a run directory."""

import subprocess
import sys

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.comparison import compare
from robust_tickets.runs import listing, locks
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages.experiment import Experiment

HOLD = """
import sys, time
from pathlib import Path
from robust_tickets.runs import locks
with locks.lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder():
    """Starts another process that locks a folder; gives the process."""
    processes = []

    def hold(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in processes:
        process.kill()
        process.communicate()


def test_the_second_process_is_refused_until_the_first_is_dead(holder, tmp_path):
    folder = tmp_path / "run with spaces ü"
    process = holder(folder)
    with pytest.raises(InputError, match="another process works in") as refused, locks.lock(folder):
        pass
    assert str(folder) in str(refused.value)
    process.kill()
    process.wait()
    with locks.lock(folder), locks.lock(folder):  # within a process it may be nested
        pass


def test_every_command_that_writes_is_refused(holder, tiny_recipe, machine, tmp_path):
    experiment, run = Experiment(tiny_recipe), RunDirectory.of(tmp_path, tiny_recipe)
    run.begin("cpu", {})
    (run.path / "seed-0").mkdir()
    before = sorted(file.name for file in run.path.rglob("*"))
    holder(run.path)
    for call in (
        lambda: compare.compare(experiment, [0], tmp_path, machine),
        lambda: compare.train_from(experiment, 0, tmp_path, machine, None),
        lambda: compare.search(experiment, 0, tmp_path, machine),
        lambda: listing.remove(run.path, confirmed=True),
    ):
        with pytest.raises(InputError, match="another process works in"):
            call()
    assert sorted(file.name for file in run.path.rglob("*") if file.name != locks.LOCK_FILE) == before


def test_a_block_that_writes_nothing_leaves_no_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), locks.lock(tmp_path / "new" / "run"):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with locks.lock(tmp_path / "old"):
        pass
    assert (tmp_path / "old").is_dir()


def test_a_folder_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    words = r"cannot write .*: choose a folder"
    with pytest.raises(InputError, match=words), locks.lock(tmp_path / "file" / "run"):
        pass
