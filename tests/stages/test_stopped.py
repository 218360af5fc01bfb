"""A search or training that was killed resumes from its last state, and leaves the same files."""

import json
from dataclasses import replace

import pytest
from quick_comparison import quick_comparisons

from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.comparison import compare as comparison
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json
from robust_tickets.stages import search as search_stage
from robust_tickets.stages.experiment import Experiment
from robust_tickets.training.checkpointer import Checkpointer

EACH_STEP = Machine("cpu", SilentProgress(), checkpoint_minutes=0, checkpoint_steps=1)


class Killed(BaseException):
    """Stands for kill -9 at this very moment."""


@pytest.fixture
def killed_after(monkeypatch):
    """Let the process die after so many states were saved."""
    left, save = [10**9], Checkpointer.save

    def counting(self, step, state):
        save(self, step, state)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    monkeypatch.setattr(Checkpointer, "save", counting)
    return lambda n: left.__setitem__(0, n)


def files_of(folder):
    """Contents of files by name; of ledgers the entries that are not seconds."""
    contents = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if file.name.endswith("ledger.json"):
            account = read_json(file)
            contents[name] = {
                key: account[key] for key in ("passes", "flops", "charged_passes", "charged_flops")
            }
        elif file.suffix == ".safetensors" or file.name in ("metrics.jsonl", "arm.json"):
            contents[name] = file.read_bytes()
    return contents


@pytest.fixture(scope="module")
def recipe(tiny_recipe):
    search = replace(tiny_recipe.search, rewind_iterations=2)
    return replace(tiny_recipe, search=search)


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    """A search and a training from its ticket without a stop."""
    return run_all(recipe, tmp_path_factory.mktemp("whole"))


def run_all(recipe, runs):
    experiment, run = Experiment(recipe, machine=EACH_STEP), RunDirectory.of(runs, recipe)
    ticket = search_stage.search(experiment, 0, run)
    return comparison.train_from(experiment, 0, runs, ticket).parent


# states 1 to 8 are of round 1, 9 to 14 of round 2, which begins at step 2, 15 to 22 of the training
@pytest.mark.parametrize("states", [1, 4, 5, 8, 9, 10, 11, 14, 15, 18, 19, 21, 22])
def test_killed_and_run_again_it_leaves_the_same_files(states, recipe, whole, tmp_path, killed_after):
    killed_after(states)
    with pytest.raises(Killed):
        run_all(recipe, tmp_path)
    assert 1 <= len(list(tmp_path.rglob("*step-*"))) <= 2
    killed_after(10**9)
    run = run_all(recipe, tmp_path)
    assert files_of(run) == files_of(whole)
    assert not list(tmp_path.rglob("*step-*"))


@pytest.fixture(scope="module")
def staged(recipe):
    """A recipe with an arm of two stages."""
    search = replace(recipe.search, rewind_iterations=0, after="lr-rewind")
    return replace(recipe, search=search, compare=replace(recipe.compare, arms=("dense", "dense-staged")))


def run_staged(recipe, runs):
    """The files of that arm, trained in a run directory there, where a part of it may lie."""
    run = RunDirectory.of(runs, recipe)
    with quick_comparisons():
        comparison.ArmJob(Experiment(recipe), 0, run, "dense-staged")(EACH_STEP)
    return files_of(run.path)


@pytest.fixture(scope="module")
def whole_staged(staged, tmp_path_factory):
    """The arm's files without a stop."""
    return run_staged(staged, tmp_path_factory.mktemp("staged"))


# states 1 to 16 are of the first stage, 17 to 24 of the second
@pytest.mark.parametrize("states", [3, 16, 17, 21])
def test_an_arm_of_two_stages_resumes_in_either(states, staged, whole_staged, tmp_path, killed_after):
    killed_after(states)
    with pytest.raises(Killed):
        run_staged(staged, tmp_path)
    killed_after(10**9)
    files = run_staged(staged, tmp_path)
    assert files == whole_staged
    assert "seed-0/dense-staged-first/ledger.json" in files


def test_a_state_of_other_images_is_refused(recipe, tmp_path, killed_after):
    killed_after(3)
    with pytest.raises(Killed):
        run_all(recipe, tmp_path)
    file = next(tmp_path.rglob("inputs.json"))
    file.write_text(json.dumps({**read_json(file), "images": "0" * 16}), encoding="utf-8")
    killed_after(10**9)
    with pytest.raises(ValueError, match="other images"):
        run_all(recipe, tmp_path)
