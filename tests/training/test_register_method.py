"""One line registers a training method: no other file of the package is touched."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from robust_tickets.recipe.methods import METHODS, method_class
from robust_tickets.recipe.registry import first_lines

HERE = Path(__file__).parent


def run(*words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(HERE), *sys.path])
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )


@pytest.fixture(scope="module")
def used(tmp_path_factory) -> dict:
    process = run(str(HERE / "use_made_up.py"), str(tmp_path_factory.mktemp("made-up")))
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout)


def test_its_settings_are_flags_with_help(used):
    text = " ".join(used["help"].split())
    assert "--train.made-up.weight X weight of the adversarial loss at the end of the schedule" in text
    assert "made_up: one step along the mean of all gradients that a sample has had" in text
    assert used["torch"] is False


def test_its_cost_is_known_beforehand_and_counted(used):
    """128 images in batches of 32: two epochs dense, one for the ticket, one batch for SNIP."""
    per_sample = {"attack": {"forward": 1, "input_backward": 1, "full_backward": 0}}
    per_sample["update"] = {"forward": 2, "input_backward": 0, "full_backward": 2}
    for passes, samples in zip(used["passes"], (256, 128), strict=True):
        for phase, expected in per_sample.items():
            assert passes[phase] == {kind: n * samples for kind, n in expected.items()}
    assert used["search"]["attack"]["forward"] == 32
    assert used["search"]["prune"]["full_backward"] == 64
    planned = {line.split()[0]: int(line.split()[2]) for line in used["estimate"].splitlines()[1:4]}
    assert planned == {"dense": 6 * 256, "search": 6 * 32, "ticket": 6 * 128}


def test_its_memory_is_part_of_the_state(used):
    assert used["saved"] == ["step-00000005.safetensors", "step-00000006.safetensors"]
    assert used["killed"] == used["whole"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("made_up:WithoutLoss", "lacks loss: add it"),
        ("made_up:WithoutDocstring", "lacks a docstring of WithoutDocstring: add it"),
        ("made_up:WithoutDefault", "lacks a default of NoDefault.weight: add it"),
        ("made_up:WithoutBase", "lacks the base class Method: add it"),
    ],
)
def test_a_method_that_lacks_a_part_is_refused(path, words, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setitem(METHODS, "odd", path)
    with pytest.raises(TypeError, match=words):
        method_class("odd")


def test_it_is_refused_when_the_recipe_is_imported_and_not_after_training():
    line = "from robust_tickets.recipe.methods import METHODS; METHODS['odd'] = 'made_up:WithoutLoss'"
    process = run("-c", f"{line}\nimport robust_tickets.recipe.fields")
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1] == (
        "TypeError: the training method odd (made_up:WithoutLoss) lacks loss: add it"
    )


@pytest.mark.parametrize("name", METHODS)
def test_each_method_names_its_paper_and_its_help_is_one_line(name):
    assert len(first_lines({name: method_class(name)})) < 120
    text = method_class(name).__doc__
    assert "min_w" in text or "x' =" in text
    assert name == "natural" or " et al. 20" in text
