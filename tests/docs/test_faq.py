"""Each error of the FAQ comes from the command or the snippet above it, word by word."""

import json
import os
import re
import shlex
import warnings
from itertools import pairwise

import pytest
from doc_blocks import Block, blocks
from image_folders import as_tree, contents
from snippet_names import names_of_snippets

from robust_tickets.base.errors import InputError, RobustnessWarning
from robust_tickets.cli.main import main

FAQ = [block for block in blocks() if block.page == "docs/faq.md"]
ERRORS = [(block, text.text) for block, text in pairwise(FAQ) if text.language == "text"]

NETS = """
from torch import nn

class Net(nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1))

class WithFeatures(Net):
    def forward(self, x):
        return {"logits": super().forward(x), "features": x}

def with_features():
    return WithFeatures(64, 10)

def five_classes():
    return Net(64, 5)
"""


@pytest.fixture
def faults(workspace):
    """The workspace with what the FAQ complains of: images, networks, a run of another machine."""
    picture = contents(each=1, size=(20, 20))["train/ant/0.png"]
    as_tree(workspace / "mixed", {**contents(each=8), "train/ant/9.png": picture})
    as_tree(workspace / "bare", {"0.png": picture})
    (workspace / "my_nets.py").write_text(NETS)
    environment = next(workspace.glob("runs/mine-*/env.json"))
    environment.write_text(json.dumps({**json.loads(environment.read_text()), "cpu": "another"}))
    return workspace


def message_of(block: Block, capsys: pytest.CaptureFixture[str]) -> str:
    """What a block says at its end: the last line of standard error, or the exception, or the warning."""
    if block.language == "bash":
        (command,) = block.commands
        with pytest.raises(SystemExit, match="2"):
            main(shlex.split(command)[1:])
        return capsys.readouterr().err.splitlines()[-1]
    import robust_tickets as rt

    with warnings.catch_warnings():
        warnings.simplefilter("error", RobustnessWarning)
        with pytest.raises((ValueError, InputError, RobustnessWarning)) as caught:
            exec(block.text, {**names_of_snippets(), "rt": rt})
    return f"{caught.type.__name__}: {caught.value}"


def test_every_entry_has_a_cause_and_a_message():
    assert len(ERRORS) >= 10
    assert len(FAQ) == 2 * len(ERRORS)
    assert {block.language for block, _ in ERRORS} == {"bash", "python"}


@pytest.mark.parametrize(("block", "text"), ERRORS, ids=[str(block) for block, _ in ERRORS])
def test_the_message_is_as_it_is_quoted(block, text, faults, capsys):
    expected = ".*".join(re.escape(part) for part in " ".join(text.split()).split("…"))
    before = set(faults.glob("runs/*/**/*.safetensors"))
    message = message_of(block, capsys)
    assert re.fullmatch(expected, message), message
    assert set(faults.glob("runs/*/**/*.safetensors")) == before  # nothing was trained
    assert not os.environ.get("ROBUST_TICKETS_CIFAR10")
