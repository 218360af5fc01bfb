"""The timing of a training: whole steps of it, by the clock's seconds of data, attack and update."""

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from robust_tickets.base.ledger import Clock
from robust_tickets.recipe.fields import Compute, Data, Evaluate, Model
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Train
from robust_tickets.stages import timed_training
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.timed_training import own_pass_seconds
from robust_tickets.training.methods.pgd import PGDSettings

RECIPE = Recipe(
    data=Data("digits", train_images=40, val_images=10),
    model=Model("net"),
    train=Train(batch=8, pgd=PGDSettings(steps=2)),
    evaluate=Evaluate(val_steps=1),
    compute=Compute(threads=1),
)


class Net(nn.Module):
    """Notes the samples of its calls in train mode."""

    calls: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images):
        if self.training and images.dtype == torch.float32:
            Net.calls.append(len(images))
        return self.linear(images.flatten(1))


class Ticking(Clock):
    """A clock that goes on by a second with each look at it."""

    now = 0

    def mark(self):
        Ticking.now += 1
        return Ticking.now


@pytest.fixture
def clock(monkeypatch):
    """The time is the number of marks."""
    monkeypatch.setattr(timed_training, "clock_for", lambda device: Ticking())
    Net.calls.clear()


def test_it_times_whole_batches_as_often_as_a_first_try_says(clock):
    assert own_pass_seconds(Experiment(RECIPE, Net), RECIPE.train, None) > 0
    assert Net.calls.count(8) >= 6  # three to warm up, then three that are timed


def test_a_step_is_three_marks_of_a_clock_however_many_steps_are_timed(clock, monkeypatch):
    # data, attack and update begin and end a second after each other: a phase takes one
    rates = []
    for seconds in (0, 60):
        monkeypatch.setattr(timed_training, "_SECONDS", seconds)
        rates.append(own_pass_seconds(Experiment(RECIPE, Net), RECIPE.train, None))
    assert rates[1] == pytest.approx(3 / (8 * 7), rel=0.1)
    assert rates[0] == pytest.approx(rates[1], rel=0.15)


def test_the_network_and_the_ledger_of_the_training_are_untouched(clock, monkeypatch):
    experiment = Experiment(replace(RECIPE, compute=Compute(threads=1)), Net)
    before = [parameter.clone() for parameter in experiment.fresh_net(0).parameters()]
    own_pass_seconds(experiment, RECIPE.train, None)
    after = experiment.fresh_net(0).parameters()
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
