"""A run directory has one process at a time."""

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
    """Another process that holds a folder; gives the process."""
    begun = []

    def hold(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
        )
        begun.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in begun:
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


def test_every_verb_that_writes_is_refused(holder, tiny_recipe, machine, tmp_path):
    what, run = Experiment(tiny_recipe), RunDirectory.of(tmp_path, tiny_recipe)
    run.begin("cpu", {})
    (run.path / "seed-0").mkdir()
    before = sorted(file.name for file in run.path.rglob("*"))
    holder(run.path)
    for call in (
        lambda: compare.compare(what, [0], tmp_path, machine),
        lambda: compare.train_from(what, 0, tmp_path, machine, None),
        lambda: compare.search(what, 0, tmp_path, machine),
        lambda: listing.remove(run.path, confirmed=True),
    ):
        with pytest.raises(InputError, match="another process works in"):
            call()
    assert sorted(file.name for file in run.path.rglob("*") if file.name != locks.LOCK_FILE) == before


def test_where_nothing_came_of_it_nothing_is_left(tmp_path):
    with pytest.raises(ZeroDivisionError), locks.lock(tmp_path / "new" / "run"):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with locks.lock(tmp_path / "old"):
        pass
    assert (tmp_path / "old").is_dir()


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with (
        pytest.raises(InputError, match=r"cannot write .*: choose a folder"),
        locks.lock(tmp_path / "file" / "run"),
    ):
        pass
