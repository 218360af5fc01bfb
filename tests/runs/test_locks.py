"""One process at a time works in a run directory; runs are listed, and nothing else is removed."""

import subprocess
import sys

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.comparison import compare
from robust_tickets.recipe.fields import Compare
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs import listing, locks
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.listing import list_runs, remove
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


def test_every_command_that_writes_is_refused(holder, tiny_recipe, tmp_path):
    experiment, run = Experiment(tiny_recipe), RunDirectory.of(tmp_path, tiny_recipe)
    run.begin("cpu", {})
    (run.path / "seed-0").mkdir()
    before = sorted(file.name for file in run.path.rglob("*"))
    holder(run.path)
    for call in (
        lambda: compare.compare(experiment, [0], tmp_path),
        lambda: compare.train_from(experiment, 0, tmp_path, None),
        lambda: compare.search(experiment, 0, tmp_path),
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


def test_a_folder_below_a_circle_of_links_is_named(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "a")
    with pytest.raises(InputError, match="cannot be followed"), locks.lock(tmp_path / "a" / "run"):
        pass


def test_a_folder_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    words = r"cannot write .*: choose a folder"
    with pytest.raises(InputError, match=words), locks.lock(tmp_path / "file" / "run"):
        pass


@pytest.fixture
def run(tmp_path):
    run = RunDirectory.of(tmp_path, Recipe(compare=Compare(arms=("dense", "ticket", "dense-best"))))
    run.begin("cpu", {})
    for arm in ("dense", "ticket"):
        run.arm(0, arm).path.mkdir(parents=True)
    run.arm(0, "dense").robustness.touch()
    return run


def test_a_line_a_run_says_what_is_finished(run, tmp_path):
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "recipe.toml").write_text("[")
    head, one, other = list_runs(tmp_path).splitlines()
    assert head.split() == ["run", "directory", "seeds", "finished", "MB"]
    assert one.split() == [run.path.name, "0", "1", "of", "2", "arms", "0.0"]
    assert "cannot be read" in other
    assert list_runs(run.path) == f"no run directories in {run.path}"
    with pytest.raises(InputError, match="--runs"):
        list_runs(tmp_path / "away")


def test_a_run_is_removed_only_when_confirmed(run):
    assert remove(run.path, confirmed=False).endswith("would be removed: add --yes")
    assert run.path.is_dir()
    assert remove(run.path, confirmed=True).startswith(f"removed {run.path} (3 files")
    assert not run.path.exists()


@pytest.mark.parametrize(
    ("env", "seed", "is_run"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_a_run_directory_has_a_machine_or_a_seed_beside_its_recipe(env, seed, is_run, tmp_path):
    """A folder of the user's own with a recipe may be called like one."""
    run = RunDirectory.of(tmp_path, Recipe())
    run.write_recipe()
    if env:
        run.machine_file.touch()
    if seed:
        run.arm(0, "dense").path.mkdir(parents=True)
    if is_run:
        remove(run.path, confirmed=True)
    else:
        with pytest.raises(InputError, match="has a recipe but is no run directory"):
            remove(run.path, confirmed=True)
    assert run.path.exists() is not is_run


def test_another_folder_and_a_link_are_never_removed(run, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "recipe.toml").write_bytes(run.recipe_file.read_bytes())
    link = tmp_path / "link-01234567"
    link.symlink_to(run.path)
    for path, reason in ((mine, "no run directory"), (link, "is a link"), (tmp_path, "no run directory")):
        with pytest.raises(InputError, match=reason):
            remove(path, confirmed=True)
    assert mine.is_dir()
    assert run.path.is_dir()
