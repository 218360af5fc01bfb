"""One line registers a training method, a wrapper or a pruning method: no other file is touched."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def used(tmp_path_factory) -> dict:
    words = [sys.executable, str(HERE / "use_made_up.py"), str(tmp_path_factory.mktemp("made-up"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    process = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout)


def test_they_have_flags_help_and_checks_without_torch(used):
    train, search = (" ".join(used[f"{command} help"].split()) for command in ("train", "search"))
    assert "--train.made-up.weight X weight of the adversarial loss at the end of the schedule" in train
    assert "--train.louder.factor X what the loss is multiplied by; 1: nothing" in train
    assert "made_up: one step along the mean of all gradients that a sample has had" in train
    assert "--search.every-nth.n N keep one weight of so many" in search
    assert "every_nth: every n-th weight, without training" in search
    words = "search.ratio does nothing with search.pruning_method every_nth, which keeps every"
    assert words in used["refused"]
    assert used["torch"] is False


def test_their_cost_is_known_beforehand_and_counted(used):
    """128 images in batches of 32: two epochs dense, one for the ticket, one batch to prune."""
    per_sample = {"attack": {"forward": 1, "input_backward": 1, "full_backward": 0}}
    per_sample["update"] = {"forward": 2, "input_backward": 0, "full_backward": 2}
    passes = used["passes"]
    for arm, samples in (("dense", 256), ("ticket", 128)):
        for phase, expected in per_sample.items():
            assert passes[f"snip {arm}"][phase] == {kind: n * samples for kind, n in expected.items()}
    assert passes["snip search"]["attack"]["forward"] == 32
    assert passes["snip search"]["prune"]["full_backward"] == 64
    assert passes["nth search"] == {"prune": {"forward": 32, "input_backward": 0, "full_backward": 0}}
    for text, cost, search in zip(used["estimates"], (6, 2), (6 * 32, 32), strict=True):
        planned = {line.split()[0]: int(line.split()[2]) for line in text.splitlines()[1:4]}
        assert planned == {"dense": cost * 256, "search": search, "ticket": cost * 128}


def test_a_ticket_of_the_pruning_method_is_like_any_other(used):
    assert "every_nth, natural, ratio" in used["ticket"]
    assert "25.00 %" in used["ticket"].splitlines()[-1]
