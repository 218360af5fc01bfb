"""Rounds are never taken from a search that is another one, or was made on other things."""

import json
from dataclasses import replace

import pytest
from torch import nn

from robust_tickets.data.tensors import from_tensors
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import Data, Model, Search
from robust_tickets.runs.directory import RunDirectory


@pytest.fixture
def of(tiny_recipe):
    """The tiny recipe with a short search of so many rounds."""

    def make(rounds, **concerns):
        search = Search(batch=32, method="natural", epochs=1, ratio=0.3, rounds=rounds)
        return replace(tiny_recipe, search=search, **concerns)

    return make


def changed(recipe, path, value):
    """The recipe with one field, such as search.lr, changed."""
    concern, field = path.split(".")
    return replace(recipe, **{concern: replace(getattr(recipe, concern), **{field: value})})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("search.lr", 0.05),
        ("search.ratio", 0.31),
        ("search.rewind_iterations", 2),
        ("search.scope", "layer"),
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
def test_a_search_that_differs_in_a_field_starts_at_the_beginning(path, value, of, search, spoken, tmp_path):
    search(of(2), tmp_path)
    _, trained = search(changed(of(3), path, value), tmp_path)
    assert trained == 3
    assert not spoken.lines
    _, trained = search(of(3), tmp_path)
    assert trained == 1, "and the one that does not differ goes on"


def test_another_seed_starts_at_the_beginning(of, search, tmp_path):
    search(of(2), tmp_path, seed=0)
    assert search(of(3), tmp_path, seed=1)[1] == 3
    assert search(of(3), tmp_path, seed=0)[1] == 1


@pytest.mark.parametrize(("key", "trained"), [("cpu", 3), ("torch", 3), ("device", 3), ("cores", 1)])
def test_rounds_of_another_machine_are_left_alone(key, trained, of, search, tmp_path):
    search(of(2), tmp_path)
    env = RunDirectory.of(tmp_path, of(2)).path / "env.json"
    env.write_text(json.dumps({**json.loads(env.read_text()), key: "another"}))
    assert search(of(3), tmp_path)[1] == trained


def small_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def other_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))


def test_rounds_of_another_net_are_left_alone(of, search, tmp_path):
    """The name is the same, and so are all shapes: the fingerprint tells them apart."""
    own = {"model": Model("nets:make")}
    search(of(2, **own), tmp_path, net=small_net)
    assert search(of(3, **own), tmp_path, net=other_net)[1] == 3
    assert search(of(4, **own), tmp_path, net=small_net)[1] == 2


def test_rounds_on_other_images_are_left_alone(of, search, tiny_data, tmp_path):
    """One pixel of one image is another."""
    own = {"data": Data("own", val_images=40)}
    train, test = ((part.images.clone(), part.labels) for part in (tiny_data.train, tiny_data.test))
    images = from_tensors(train, test, val_images=40)
    train[0][0, 0, 0, 0] ^= 1
    others = from_tensors(train, test, val_images=40)
    assert images.fingerprint != others.fingerprint
    search(of(2, **own), tmp_path, images=images)
    assert search(of(3, **own), tmp_path, images=others)[1] == 3
    assert search(of(4, **own), tmp_path, images=images)[1] == 2


def test_a_run_without_a_record_of_its_inputs_is_asked_for_its_tickets(of, search, tiny_data, tmp_path):
    own = {"data": Data("own", val_images=40)}
    train, test = ((part.images, part.labels) for part in (tiny_data.train, tiny_data.test))
    images = from_tensors(train, test, val_images=40)
    others = from_tensors((255 - train[0], train[1]), test, val_images=40)
    search(of(2, **own), tmp_path, images=images)
    for record in tmp_path.glob("*/inputs.json"):
        record.unlink()
    assert search(of(3, **own), tmp_path, images=others)[1] == 3


def test_a_folder_that_is_no_run_of_ours_is_no_hindrance(of, search, tmp_path):
    search(of(2), tmp_path)
    for name, text in (("stray", "no = [toml"), ("later", 'name = "x"\n[search]\nfrom_the_future = 1\n')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.toml").write_text(text)
    assert search(of(3), tmp_path)[1] == 1
