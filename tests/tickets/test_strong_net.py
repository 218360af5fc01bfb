"""A network rebuilt inside a random one: subsets are the best, weights are random ones, bounds hold."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.models import registry
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.relu_chain import Layer, activations, relu_chain
from robust_tickets.tickets.strong_net import StrongNet, bounds, rebuild, rebuild_all
from robust_tickets.tickets.subset_sum import MOST, closest_subset

SHAPE = (1, 3, 3)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 9])
@pytest.mark.parametrize("wanted", [-5.0, -0.3, 0.0, 0.41, 9.0])
def test_no_subset_is_closer(count, wanted):
    values = np.random.default_rng(count).uniform(-1, 1, count)
    every = [np.array(bits, bool) for bits in product([False, True], repeat=count)]
    best = min(abs(values[bits].sum() - wanted) for bits in every)
    chosen = closest_subset(values, wanted)
    assert chosen.shape == (count,)
    assert abs(values[chosen].sum() - wanted) == pytest.approx(best, abs=1e-12)


def test_too_many_values_are_refused():
    with pytest.raises(ValueError, match="at most 28"):
        closest_subset(np.zeros(MOST + 1), 0.0)


@pytest.fixture(scope="module")
def layers():
    generator = np.random.default_rng(1)
    sizes = (9, 6, 5, 4)
    return [
        Layer(generator.normal(0, 3.0 / n, (m, n)), generator.normal(0, 1, m)) for n, m in pairwise(sizes)
    ]


@pytest.fixture(scope="module")
def blocks(layers):
    return rebuild_all(layers, 30, seed=0)


def test_every_weight_is_a_sum_of_random_ones_that_are_kept_as_they_were_drawn(layers, blocks):
    generator = np.random.default_rng(0)
    for layer, block in zip(layers, blocks, strict=True):
        outputs, inputs = layer.weight.shape
        neurons = 30 * (inputs + 1)
        first = generator.uniform(-1, 1, (neurons, inputs + 1))
        second = generator.uniform(-1, 1, (outputs, neurons))
        for weight, drawn in zip(block.pruned, (first, second), strict=True):
            assert np.array_equal(weight[weight != 0], drawn[weight != 0])
        assert (block.keeps_first.sum(1) <= 1).all()  # a neuron reads one input
        used = block.keeps_second.any(0)
        assert np.array_equal(used, block.keeps_first.any(1))
        assert block.count == block.keeps_first.sum() + block.keeps_second.sum()
        target = np.column_stack([layer.weight, layer.bias])
        assert np.abs(block.weight - target).max() < 0.01 * np.abs(target).max()


def test_the_error_falls_with_the_candidates():
    layer = Layer(np.random.default_rng(3).uniform(-1, 1, (8, 5)), np.zeros(8))
    errors = [
        np.median(np.abs(rebuild(layer, count, np.random.default_rng(0)).weight[:, :-1] - layer.weight))
        for count in (8, 16, 24, 32)
    ]
    assert all(fewer > 3 * more for fewer, more in pairwise(errors))


def test_the_pruned_network_computes_what_its_weights_say(layers, blocks):
    images = torch.rand(20, *SHAPE)
    rebuilt = [Layer(block.weight[:, :-1], block.weight[:, -1]) for block in blocks]
    expected = activations(rebuilt, images.flatten(1).double().numpy())[-1]
    np.testing.assert_allclose(StrongNet(blocks)(images).numpy(), expected, rtol=1e-9, atol=1e-9)


def test_bounds_hold_for_images_of_the_ball_that_try_to_break_them(layers, blocks):
    rng = np.random.default_rng(5)
    centre = rng.random((6, 9))
    low, high = (centre - 0.1).clip(0, 1), (centre + 0.1).clip(0, 1)
    ball = bounds(layers, blocks, low, high)
    net = StrongNet(blocks)
    corners = np.where(rng.random((3000, 1, 9)) < 0.5, low, high)
    inner = low + rng.random((1000, 6, 9)) * (high - low)
    flat = np.concatenate([corners, inner]).reshape(-1, 9)
    logits = activations(layers, flat)[-1].reshape(-1, 6, 4)
    found = net(torch.from_numpy(flat).reshape(-1, *SHAPE)).numpy().reshape(-1, 6, 4)
    assert (np.abs(found - logits) <= ball.error).all()
    assert (ball.low <= logits).all()
    assert (logits <= ball.high).all()
    assert np.abs(found - logits).max() > ball.error.max() / 100  # a bound that says something


def test_the_bound_at_one_image_is_tighter_than_that_of_a_ball(layers, blocks):
    centre = np.random.default_rng(6).random((6, 9))
    point = bounds(layers, blocks, centre, centre)
    ball = bounds(layers, blocks, (centre - 0.1).clip(0, 1), (centre + 0.1).clip(0, 1))
    assert (point.error < ball.error).all()
    np.testing.assert_allclose(point.low, activations(layers, centre)[-1])
    np.testing.assert_allclose(point.high, point.low)


def test_layers_of_a_network_with_normalisation_give_its_logits():
    spec = ModelSpec("lenet-300-100", 0.1, (1, 8, 8), 10, (0.3,), (0.4,))
    net = registry.build(spec, seed=0)
    images = torch.rand(5, 1, 8, 8)
    found = activations(relu_chain(net, (1, 8, 8)), images.flatten(1).double().numpy())[-1]
    np.testing.assert_allclose(found, net(images).detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.ReLU(), nn.Linear(2, 4)),
        nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, 4)),
        nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU()),
        nn.Flatten(),
    ],
    ids=["convolution", "tanh", "relu at the end", "no layer"],
)
def test_other_networks_are_refused(net):
    with pytest.raises(InputError, match="more than linear layers with ReLU between them"):
        relu_chain(net, SHAPE)


def test_a_random_network_beyond_memory_is_refused():
    layer = Layer(np.zeros((300, 3072)), np.zeros(300))
    with pytest.raises(InputError, match=r"48 candidates an input has .* ask for fewer candidates"):
        rebuild(layer, 48, np.random.default_rng(0))
