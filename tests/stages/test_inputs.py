"""What a run was begun with: fingerprints of the user's own net."""

import importlib
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.cli.main import main
from robust_tickets.models.fingerprint import function_fingerprint, weights_fingerprint
from robust_tickets.recipe.fields import Data
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages.experiment import Experiment

SHAPE = (1, 8, 8)


class Net(nn.Module):
    """The same layers and weights, whatever is done between them."""

    def __init__(self, activation):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 8, 3)
        self.fc = nn.Linear(288, 3)
        self.activation = [activation]

    def forward(self, images):
        return self.fc(self.activation[0](self.conv(images)).flatten(1))

    def extra_repr(self):
        return f"at {object()}"


@pytest.fixture(autouse=True)
def _own_generator():
    with torch.random.fork_rng(devices=[]):
        yield


def test_the_same_net_has_the_same_prints_wherever_its_objects_lie():
    one, other = Net(torch.relu), Net(torch.relu)
    assert function_fingerprint(one, SHAPE) == function_fingerprint(other, SHAPE)
    assert weights_fingerprint(one) == weights_fingerprint(other)


def test_another_forward_pass_is_another_function():
    gelu = nn.functional.gelu
    assert function_fingerprint(Net(torch.relu), SHAPE) != function_fingerprint(Net(gelu), SHAPE)


def test_other_weights_are_the_same_function_and_another_beginning():
    one, other = Net(torch.relu), Net(torch.relu)
    with torch.no_grad():
        other.fc.bias[0] += 1e-3
    assert function_fingerprint(one, SHAPE) == function_fingerprint(other, SHAPE)
    assert weights_fingerprint(one) != weights_fingerprint(other)


def test_a_net_is_left_as_it_was_and_so_is_chance():
    net = Net(torch.relu).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    function_fingerprint(net, SHAPE)
    assert net.training
    assert next(net.parameters()).dtype == torch.float32
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("seed", ["0", "1"])
def test_a_net_whose_forward_pass_changed_is_refused_whatever_the_seed(seed, tmp_path, monkeypatch, capsys):
    """By a run that is finished, by another seed of it, and by evaluation."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    code = (
        "from torch import nn\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.a, self.b = nn.Linear(64, 16), nn.Linear(16, 10)\n\n    def forward(self, x):\n"
        "        return self.b(self.a(x.flatten(1)).{}())\n"
    )
    words = "--recipe demo --data.train-images 40 --data.val-images 20 --train.epochs 1 --train.batch 20"
    words += f" --train.pgd.steps 1 --evaluate.val-steps 1 --model.name changing_{seed}:Net"
    for activation in ("relu", "tanh"):
        (tmp_path / f"changing_{seed}.py").write_text(code.format(activation))
        sys.modules.pop(f"changing_{seed}", None)
        importlib.invalidate_caches()
        if activation == "relu":
            main(["train", *words.split()])
            file = f"{capsys.readouterr().out.split()[-1]}/best.safetensors"
            continue
        with pytest.raises(SystemExit, match="2"):
            main(["train", *words.split(), "--seed", seed])
        assert "began with other net" in capsys.readouterr().err
        with pytest.raises(SystemExit, match="2"):
            main(["evaluate", file, "--model.name", f"changing_{seed}:Net"])
        assert "makes another network than the checkpoint's" in capsys.readouterr().err


def test_a_finished_run_refuses_another_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for root, shift in (("one", 0), ("other", 1)):
        for part in ("train", "test"):
            for label in range(2):
                for i in range(8):
                    file = tmp_path / root / part / f"class{label}" / f"{i}.png"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    pixels = np.random.default_rng([shift, label, i]).integers(0, 256, (8, 8), np.uint8)
                    Image.fromarray(pixels).save(file)
    words = "train --recipe demo --model.name lenet-300-100 --model.width 0.1 --data.name folder"
    words += (
        " --data.val-images 4 --train.epochs 1 --train.batch 4 --train.pgd.steps 1 --evaluate.val-steps 1"
    )
    words += f" --runs {tmp_path / 'runs'} --data.root"
    main([*words.split(), str(tmp_path / "one")])
    main([*words.split(), str(tmp_path / "one")])
    assert "already done: " in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*words.split(), str(tmp_path / "other")])
    assert "began with other images" in capsys.readouterr().err


def test_seeds_that_share_an_init_are_no_seeds(tiny_recipe, tmp_path):
    run = RunDirectory.of(tmp_path, tiny_recipe)
    run.begin("cpu", {"net of seed 0": "a" * 16})
    run.check_inputs({"net of seed 0": "a" * 16})
    run.check_inputs({"net of seed 1": "b" * 16})
    with pytest.raises(InputError, match=r"net of seed 1 is bit for bit the net of seed 0.*several inits"):
        run.check_inputs({"net of seed 1": "a" * 16})


def test_a_folder_is_read_once_for_all_that_stages_ask_of_it(tiny_recipe, tiny_data, machine, monkeypatch):
    reads = []
    monkeypatch.setattr("robust_tickets.data.load.load", lambda which, say: reads.append(which) or tiny_data)
    folder = Data("folder", train_images=100, val_images=3)  # read by no other test of this process
    what = Experiment(replace(tiny_recipe, data=folder))
    assert what.spec(machine) == tiny_data.spec
    assert what.inputs(0, machine)["images"] == what.load(machine).fingerprint == tiny_data.fingerprint
    assert what.load(machine).spec == what.spec(machine)
    assert reads == [folder]
