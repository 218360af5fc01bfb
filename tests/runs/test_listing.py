"""Run directories are listed, and nothing else is removed."""

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.fields import Compare
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.listing import list_runs, remove


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
