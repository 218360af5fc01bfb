"""How long a training is: a budget in optimiser steps is met exactly, and epochs are but steps."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_post_hook
from training_case import same_state, train

from robust_tickets.data.dataset import SPECS
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json
from robust_tickets.stages import plan as planning
from robust_tickets.stages import train as train_stage
from robust_tickets.stages.experiment import Experiment
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.schedules import learning_rate

PER_EPOCH = 4  # 128 images in batches of 32


@pytest.fixture
def steps_taken():
    """A list that grows by one with every step of an optimiser of a network."""
    rates = []

    def note(optimiser, args, kwargs):
        # the machine takes one step on a single number before it begins
        if sum(p.numel() for group in optimiser.param_groups for p in group["params"]) > 1:
            rates.append(optimiser.param_groups[0]["lr"])

    handle = register_optimizer_step_post_hook(note)
    yield rates
    handle.remove()


@pytest.mark.parametrize("steps", [1, 3, 4, 6, 8, 9])
def test_exactly_so_many_steps_are_taken_and_charged(steps, conv_net, tiny_data, config, steps_taken):
    settings = replace(config.settings, method="natural", schedule="cosine", warmup=0.3)
    result, ledger = train(conv_net, None, tiny_data, replace(config, settings=settings, steps=steps))
    assert steps_taken == [learning_rate(settings, step, steps) for step in range(steps)]
    ends = [*range(PER_EPOCH, steps, PER_EPOCH), steps]
    assert [record["step"] for record in result.history] == ends
    assert [record["epoch"] for record in result.history] == list(range(1, len(ends) + 1))
    assert ledger.passes["update"].forward == 32 * steps
    assert ledger.charged_passes == 2 * 32 * steps == result.history[-1]["passes"]


def test_the_loss_of_an_epoch_cut_short_is_the_mean_of_its_steps(conv_net, tiny_data, config, monkeypatch):
    losses = []
    real = F.cross_entropy

    def noted(*args, **kwargs):
        loss = real(*args, **kwargs)
        if loss.ndim == 0:  # the attack's, for validation, are one a sample
            losses.append(loss.detach())
        return loss

    monkeypatch.setattr(F, "cross_entropy", noted)
    config = replace(config, settings=replace(config.settings, method="natural"), steps=7)
    result, _ = train(conv_net, None, tiny_data, config)
    means = [torch.stack(part).mean().item() for part in (losses[:4], losses[4:])]
    assert [record["train_loss"] for record in result.history] == pytest.approx(means, rel=1e-6)


def test_a_training_cut_short_is_the_beginning_of_a_longer_one(conv_net, tiny_data, config):
    """Where the rate does not depend on the length; and `early` is the state before that step."""
    config = replace(config, settings=replace(config.settings, method="fgsm", schedule="constant"))
    twin = copy.deepcopy(conv_net)
    long, _ = train(conv_net, None, tiny_data, replace(config, early_step=6))
    short, _ = train(twin, None, tiny_data, replace(config, steps=6))
    assert same_state(long.early, short.last)
    assert not same_state(long.last, short.last)


def train_arm(recipe, arm, runs):
    run = RunDirectory.of(runs, recipe)
    plan = planning.plan(recipe, arm, SPECS["digits"])
    return train_stage.train(Experiment(recipe), 0, run, plan, None)


def test_an_arm_of_iterations_takes_them(tiny_recipe, tmp_path, steps_taken):
    recipe = replace(tiny_recipe, train=replace(tiny_recipe.train, iterations=7, ticket_iterations=3))
    folder = train_arm(recipe, "dense-short", tmp_path)
    assert len(steps_taken) == 3
    assert read_json(folder.record)["epochs"] == 3 / PER_EPOCH
    assert read_json(folder.ledger)["passes"]["update"]["forward"] == 32 * 3


def test_whole_epochs_in_iterations_are_epochs_bit_for_bit(tiny_recipe, tmp_path):
    by_epochs = replace(tiny_recipe, train=replace(tiny_recipe.train, epochs=3, schedule="cosine"))
    by_steps = replace(by_epochs, train=replace(by_epochs.train, epochs=30, iterations=12))
    one, other = (train_arm(recipe, "dense", tmp_path) for recipe in (by_epochs, by_steps))
    assert one != other
    assert one.metrics.read_bytes() == other.metrics.read_bytes()
    assert read_json(one.record) == read_json(other.record)
    for ours, theirs in zip(one.checkpoints, other.checkpoints, strict=True):
        assert same_state(Checkpoint.load(ours).state, Checkpoint.load(theirs).state)
