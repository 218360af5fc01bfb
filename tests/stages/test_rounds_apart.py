"""Rounds are never taken from another search, network, images or machine."""

import json
import shutil
from dataclasses import replace

import pytest
from torch import nn

from robust_tickets.data.user_images import from_tensors
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import Data, Model, Search
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import search as search_stage
from robust_tickets.stages.experiment import Experiment


@pytest.fixture(scope="module")
def recipe_of(tiny_recipe):
    """The tiny recipe with a short search of so many rounds."""

    def make(rounds, **concerns):
        search = Search(batch=64, method="natural", epochs=1, ratio=0.3, rounds=rounds)
        return replace(tiny_recipe, search=search, **concerns)

    return make


@pytest.fixture(scope="module")
def one_round(recipe_of, tmp_path_factory):
    """A run directory with a search of one round."""
    run = RunDirectory.of(tmp_path_factory.mktemp("runs"), recipe_of(1))
    search_stage.search(Experiment(run.recipe), 0, run)
    return run.path


@pytest.fixture
def runs(one_round, tmp_path):
    """A runs folder with the search of one round."""
    shutil.copytree(one_round, tmp_path / one_round.name)
    return tmp_path


def test_the_same_search_resumes(recipe_of, search, runs):
    assert search(recipe_of(2), runs)[1] == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("search.lr", 0.05),
        ("search.rewind_iterations", 1),
        ("search.ignored_layers", "fc3.weight"),
        ("data.val_images", 50),
        ("data.train_images", 96),
        ("model.width", 0.3),
        ("model.init", "glorot-normal"),
        ("threat.eps", Eps("0.2")),
        ("evaluate.val_steps", 3),
        ("evaluate.select_by", "clean"),
        ("compute.channels_last", False),
    ],
)
def test_a_search_that_differs_in_a_field_starts_from_the_beginning(
    path, value, recipe_of, search, spoken, runs
):
    concern, field = path.split(".")
    recipe = recipe_of(2)
    other = replace(recipe, **{concern: replace(getattr(recipe, concern), **{field: value})})
    assert search(other, runs)[1] == 2
    assert not spoken.lines


def test_another_seed_starts_from_the_beginning(recipe_of, search, runs):
    assert search(recipe_of(2), runs, seed=1)[1] == 2


@pytest.mark.parametrize(("key", "rounds"), [("cpu", 2), ("torch", 2), ("device", 2), ("cores", 1)])
def test_rounds_of_another_machine_are_left_alone(key, rounds, recipe_of, search, runs, one_round):
    env = runs / one_round.name / "env.json"
    env.write_text(json.dumps({**json.loads(env.read_text()), key: "another"}))
    assert search(recipe_of(2), runs)[1] == rounds


def small_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def other_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))


def test_rounds_of_another_network_are_left_alone(recipe_of, search, tmp_path):
    """Name and shapes are equal; only the fingerprint differs."""
    own = {"model": Model("nets:make")}
    search(recipe_of(1, **own), tmp_path, net=small_net)
    assert search(recipe_of(2, **own), tmp_path, net=other_net)[1] == 2
    assert search(recipe_of(3, **own), tmp_path, net=small_net)[1] == 2


@pytest.mark.parametrize("record", [True, False])
def test_rounds_on_other_images_are_left_alone(record, recipe_of, search, tiny_data, tmp_path):
    """One pixel of one image differs; without the run's record of its inputs the ticket tells."""
    own = {"data": Data("own", val_images=40)}
    train, test = ((part.images.clone(), part.labels) for part in (tiny_data.train, tiny_data.test))
    images = from_tensors(train, test, val_images=40)
    train[0][0, 0, 0, 0] ^= 1
    others = from_tensors(train, test, val_images=40)
    assert images.fingerprint != others.fingerprint
    search(recipe_of(1, **own), tmp_path, images=images)
    if not record:
        next(tmp_path.glob("*/inputs.json")).unlink()
    assert search(recipe_of(2, **own), tmp_path, images=others)[1] == 2


def test_a_folder_that_is_no_run_directory_does_no_harm(recipe_of, search, runs):
    for name, text in (("stray", "no = [toml"), ("later", 'name = "x"\n[search]\nfrom_the_future = 1\n')):
        (runs / name).mkdir()
        (runs / name / "recipe.toml").write_text(text)
    assert search(recipe_of(2), runs)[1] == 1
