"""The seconds of an estimate: validation and evaluation at their own rate, in float32."""

from typing import ClassVar

import pytest
import torch
from torch import nn

from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.comparison import timed_passes
from robust_tickets.comparison.estimate import estimate
from robust_tickets.recipe.fields import Compare, Compute, Data, Evaluate, Model
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Search, Train
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.timed_training import first_steps
from robust_tickets.training import precision

RECIPE = Recipe(
    data=Data("digits", train_images=40, val_images=10),
    model=Model("net"),
    search=Search(batch=8),
    train=Train(batch=8),
    evaluate=Evaluate(images=20, batch=6),
    compute=Compute(threads=1, precision="bf16"),
    compare=Compare(arms=("dense",)),
)


class Net(nn.Module):
    """Notes how it is called."""

    calls: ClassVar[list[tuple[int, torch.dtype, bool, bool]]] = []

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images):
        lower = torch.is_autocast_enabled("cpu")
        Net.calls.append((len(images), images.dtype, self.training, lower))
        return self.linear(images.flatten(1))


def experiment(device: str = "cpu") -> Experiment:
    return Experiment(RECIPE, Net, machine=Machine(device, SilentProgress()))


def test_evaluation_is_timed_in_float32_in_its_own_batch_and_in_eval_mode():
    Net.calls.clear()
    assert timed_passes.evaluation_pass_seconds(experiment(), 2 * 640) > 0
    assert set(Net.calls[-3:]) == {(6, torch.float32, False, False)}


def test_training_is_timed_in_the_precision_of_the_recipe(monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)  # any CPU can, if slowly
    Net.calls.clear()
    recipe = RECIPE
    assert timed_passes.training_pass_seconds(experiment(), recipe.train, 2 * 640) > 0
    assert any(lower for *_, lower in Net.calls)


def test_each_row_has_its_own_rate(monkeypatch):
    for kind, module, seconds in (("training", "estimated_rates", 1e-6), ("evaluation", "estimate", 1e-2)):
        name = f"robust_tickets.comparison.{module}.{kind}_pass_seconds"
        monkeypatch.setattr(name, lambda *arguments, seconds=seconds: seconds)
    rows = estimate(experiment(), 1).rows.set_index("arm")
    checks = rows.loc["validation and evaluation, at most"]
    assert checks.estimated_seconds == pytest.approx(checks.passes * 1e-2, abs=0.1)
    assert rows.estimated_seconds["dense"] < 1


@pytest.mark.parametrize(("device", "steps"), [("cpu", 3), ("cuda:0", 30)])
def test_a_gpu_takes_more_and_whole_steps(device, steps):
    assert first_steps(device) == steps
    assert timed_passes._batch(device, 250, 10**12) == (2 if device == "cpu" else 250)
