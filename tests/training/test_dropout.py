"""Dropout in training: its chance is the step's own, and PyTorch's global generator is left alone."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_case import same_state, train

from robust_tickets.models import registry
from robust_tickets.recipe.fields import Model
from robust_tickets.stages.specs import model_spec


@pytest.fixture
def make(tiny_recipe, tiny_data):
    """Conv-2 for digits, with the dropout asked for; always of the same init."""

    def build(dropout=0.5):
        recipe = replace(tiny_recipe, model=Model("conv-2", width=0.25, dropout=dropout))
        return registry.build(model_spec(recipe, tiny_data.spec), seed=0)

    return build


@pytest.fixture
def natural(config):
    """A short training without an attack."""
    return replace(config, settings=replace(config.settings, method="natural"))


class RecordingDropout(nn.Dropout):
    """Dropout that remembers which units of a batch it kept, active or not."""

    def __init__(self, p):
        super().__init__(p)
        self.masks = []

    def forward(self, x):
        mask = F.dropout(torch.ones_like(x), self.p, self.training)
        if self.training:
            self.masks.append(mask != 0)
        return x * mask


def units_kept(net, data, config):
    """The units that each step kept: of both hidden layers, one beside the other."""
    net.dropout = RecordingDropout(net.dropout.p)
    train(net, None, data, config)
    layers = net.dropout.masks
    assert len(layers) == 2 * (config.steps - config.begin), "it draws in the update, and never in an attack"
    return [torch.cat(layers[i : i + 2], 1) for i in range(0, len(layers), 2)]


def test_the_init_does_not_hang_on_dropout(make):
    assert same_state(make(0.5).state_dict(), make(0.0).state_dict())


def test_the_global_generator_is_neither_read_nor_changed(make, tiny_data, config):
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        states.append(train(make(), None, tiny_data, config)[0].last)
        assert torch.equal(torch.get_rng_state(), before)
    assert same_state(*states)
    assert not same_state(states[0], train(make(0.0), None, tiny_data, config)[0].last)


def test_the_share_asked_for_is_dropped(make, tiny_data, natural):
    share = 1 - torch.cat(units_kept(make(0.3), tiny_data, natural)).float().mean()
    assert float(share) == pytest.approx(0.3, abs=0.01)


def test_every_step_and_every_seed_drops_others(make, tiny_data, natural):
    """PyTorch's generator on the CPU reads the lower 32 bits of a seed alone."""
    seeds = (0, 1, 2**31 - 1)
    units = [each for seed in seeds for each in units_kept(make(), tiny_data, replace(natural, seed=seed))]
    assert len(units) == 24
    for i, one in enumerate(units):
        for other in units[:i]:
            assert float((one == other).float().mean()) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("begin", [3, 4])
def test_a_training_that_begins_at_a_step_draws_as_the_whole_one(begin, make, tiny_data, natural):
    whole = units_kept(make(), tiny_data, natural)
    rest = units_kept(make(), tiny_data, replace(natural, begin=begin))
    assert len(rest) == 8 - begin
    assert all(torch.equal(one, other) for one, other in zip(whole[begin:], rest, strict=True))
