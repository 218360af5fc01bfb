"""The inputs of a run are the same in all its stages; a training that diverges keeps its last good state."""

import importlib
import sys
from dataclasses import replace

import pytest

from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.cli.main import main
from robust_tickets.recipe.fields import Data
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import plan as planning
from robust_tickets.stages import train
from robust_tickets.stages.experiment import Experiment
from robust_tickets.training import monitors
from robust_tickets.training.monitors import DivergedError


@pytest.mark.parametrize("seed", ["0", "1"])
def test_a_changed_forward_pass_is_refused(seed, tmp_path, monkeypatch, capsys):
    """By a finished run (seed 0), by another seed of it, and by evaluation."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    # bytecode of the first file would pass for the second's, of the same size and second
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
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


def test_a_folder_is_read_once_for_all_stages(tiny_recipe, tiny_data, monkeypatch):
    reads = []
    monkeypatch.setattr("robust_tickets.data.load.load", lambda data, log: reads.append(data) or tiny_data)
    folder = Data("folder", train_images=100, val_images=3)  # read by no other test of this process
    experiment = Experiment(replace(tiny_recipe, data=folder))
    assert experiment.spec == tiny_data.spec
    fingerprint = experiment.inputs(0)["images"]
    assert fingerprint == experiment.load().fingerprint == tiny_data.fingerprint
    assert experiment.load().spec == experiment.spec
    assert reads == [folder]


@pytest.fixture
def diverging(monkeypatch):
    """Let the loss be infinite at a step."""

    def at(number):
        look = monitors.FiniteMonitor.observe
        monkeypatch.setattr(
            monitors.FiniteMonitor,
            "observe",
            lambda self, step, loss: look(self, step, loss * (1e400 if step == number else 1)),
        )

    return at


# four steps an epoch
@pytest.mark.parametrize(("step", "saved"), [(2, None), (4, 4), (6, 4), (9, 8)])
@pytest.mark.parametrize(("minutes", "every"), [(1, 0), (0, 0), (0, 3)])
def test_the_state_after_the_last_whole_epoch_is_saved(
    step, saved, minutes, every, tiny_recipe, tmp_path, diverging
):
    machine = Machine("cpu", SilentProgress(), minutes, every)
    experiment, run = Experiment(tiny_recipe, machine=machine), RunDirectory.of(tmp_path, tiny_recipe)
    plan = planning.plan(tiny_recipe, "dense", experiment.spec)
    diverging(step)
    with pytest.raises(DivergedError, match=f"diverged at step {step}"):
        train.train(experiment, 0, run, plan, None)
    states = sorted(tmp_path.rglob("step-*"))
    if (minutes, every) == (0, 0) or (saved is None and every == 0):
        assert states == []  # none is to be saved, or no epoch was over
        return
    steps = [int(file.stem.removeprefix("step-")) for file in states]
    assert all(number <= step for number in steps)
    assert saved is None or saved in steps
    if minutes:
        assert steps == [saved]
    # the same command resumes there, and diverges again
    with pytest.raises(DivergedError, match=f"diverged at step {step}"):
        train.train(experiment, 0, run, plan, None)
