"""Initial weights of any network, by name and seed."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from robust_tickets.base.errors import InputError
from robust_tickets.models.conv import CONV6, ConvN
from robust_tickets.models.init import INITS, initialise
from robust_tickets.models.lenet import LeNet300
from robust_tickets.models.normalise import Normalise
from robust_tickets.models.registry import ModelSpec, build, scale_channels
from robust_tickets.models.resnet import CifarResNet
from robust_tickets.models.vgg import VGG, VGG16
from robust_tickets.recipe import schema

SPEC = ModelSpec("resnet20", 1.0, (3, 32, 32), 10, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
DRAWS = {
    "glorot-normal": nn.init.xavier_normal_,
    "kaiming-normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
}


def fans(layer: nn.Module) -> tuple[int, int]:
    kernel = math.prod(getattr(layer, "kernel_size", ()))
    return layer.weight.shape[1] * kernel, layer.weight.shape[0] * kernel


def deviation(layer: nn.Module, init: str) -> float:
    fan_in, fan_out = fans(layer)
    return math.sqrt(2 / (fan_in + fan_out if init == "glorot-normal" else fan_in))


def other_net() -> nn.Module:
    """Layers of every kind, nested, with and without biases."""
    return nn.Sequential(
        nn.Conv1d(16, 40, 5),
        nn.Sequential(nn.Conv2d(24, 60, 3, groups=2, bias=False), nn.BatchNorm2d(60)),
        nn.Conv3d(8, 30, 3),
        nn.ModuleDict({"inside": nn.Linear(90, 40)}),
        nn.LayerNorm(7),
        nn.Embedding(9, 4),
    )


def test_the_inits_are_the_default_and_two_distributions():
    assert ("default", *DRAWS) == INITS


@pytest.mark.parametrize("init", DRAWS)
def test_a_draw_equals_torch_s_from_the_same_seed(init):
    net, plain = other_net(), other_net()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        initialise(net, init)
        torch.manual_seed(3)
        expected = [DRAWS[init](m.weight) for m in plain.modules() if isinstance(m, LAYERS)]
    drawn = [m for m in net.modules() if isinstance(m, LAYERS)]
    assert len(drawn) == 4
    for layer, weight in zip(drawn, expected, strict=True):
        assert torch.equal(layer.weight, weight)
        assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("init", INITS)
def test_other_layers_are_unchanged(init):
    net = other_net()
    others = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm | nn.Embedding)]
    for layer in others:
        nn.init.uniform_(layer.weight)
    before = [{k: t.clone() for k, t in layer.state_dict().items()} for layer in others]
    initialise(net, init)
    for layer, state in zip(others, before, strict=True):
        assert all(torch.equal(t, state[k]) for k, t in layer.state_dict().items())


def test_the_default_changes_neither_network_nor_generator():
    net = other_net()
    before, state = {k: t.clone() for k, t in net.state_dict().items()}, torch.get_rng_state()
    initialise(net, "default")
    assert all(torch.equal(t, before[k]) for k, t in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("init", DRAWS)
@pytest.mark.parametrize("name", ["lenet-300-100", "conv-4", "vgg16-fc", "resnet18", "wrn16-4"])
def test_weights_have_the_right_deviation_and_mean_0(name, init):
    net = build(dataclasses.replace(SPEC, name=name, width=0.25, init=init), seed=0)
    layers = {n: m for n, m in net.named_modules() if isinstance(m, LAYERS)}
    large = [n for n, m in layers.items() if m.weight.numel() > 8000]
    assert large
    for layer in large:
        weight, expected = layers[layer].weight.detach(), deviation(layers[layer], init)
        error = 5 / math.sqrt(weight.numel())
        assert abs(float(weight.std()) / expected - 1) < error, layer
        assert abs(float(weight.mean()) / expected) < error, layer
    assert not any(m.bias.any() for m in layers.values() if m.bias is not None)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    assert all((m.weight == 1).all() and not m.bias.any() for m in norms)


@pytest.mark.parametrize("init", INITS)
def test_an_init_depends_on_the_seed_and_leaves_the_generator_unchanged(init):
    spec, state = dataclasses.replace(SPEC, init=init), torch.get_rng_state()
    one, same, other = (build(spec, seed=seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(t, same[k]) for k, t in one.items())
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])


def test_inits_differ():
    nets = [build(dataclasses.replace(SPEC, init=init), seed=0) for init in INITS]
    deviations = {round(float(net.layer3[0].conv1.weight.detach().std()), 3) for net in nets}
    assert len(deviations) == len(INITS)


WIDTHS = {"lenet-300-100": 1.0, "conv-6": 1.0, "vgg16": 0.25, "resnet20": 1.0}


def construct(name: str) -> nn.Module:
    normalise = Normalise(SPEC.mean, SPEC.std)
    if name == "lenet-300-100":
        return LeNet300(SPEC.shape, 10, (300, 100), normalise)
    if name == "conv-6":
        return ConvN(SPEC.shape, 10, CONV6, (256, 256), 0.0, normalise)
    if name == "vgg16":
        return VGG(3, 10, [[scale_channels(c, WIDTHS[name]) for c in block] for block in VGG16], normalise)
    return CifarResNet(3, 10, 3, (16, 32, 64), normalise)


@pytest.mark.parametrize("name", WIDTHS)
def test_the_default_is_pytorch_s(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        expected = construct(name).state_dict()
    net = build(dataclasses.replace(SPEC, name=name, width=WIDTHS[name]), seed=7)
    assert all(torch.equal(t, expected[k]) for k, t in net.state_dict().items())
    weights = [m.weight for m in net.modules() if isinstance(m, LAYERS)]
    bounds = [1 / math.sqrt(w[0].numel()) for w in weights]  # PyTorch draws uniformly up to 1 / sqrt(fan_in)
    assert all(
        0.9 < float(w.detach().abs().max()) / bound < 1.001 for w, bound in zip(weights, bounds, strict=True)
    )


def test_the_default_of_wide_resnets_is_the_paper_s_by_fan_out():
    net = build(dataclasses.replace(SPEC, name="wrn10-2"), seed=0)
    for layer in (m for m in net.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 8000):
        expected = math.sqrt(2 / fans(layer)[1])
        assert abs(float(layer.weight.detach().std()) / expected - 1) < 5 / math.sqrt(layer.weight.numel())
    assert not net.fc.bias.any()


def test_an_unknown_init_gets_the_nearest_name():
    with pytest.raises(InputError, match="unknown init 'glorot': did you mean 'glorot-normal'"):
        build(dataclasses.replace(SPEC, init="glorot"), seed=0)


@pytest.mark.parametrize("init", DRAWS)
def test_a_computed_weight_is_refused_before_any_draw(init):
    net = nn.Sequential(nn.Linear(4, 3), parametrizations.weight_norm(nn.Linear(3, 2)))
    before = net[0].weight.clone()
    with pytest.raises(InputError, match="weight of '1' is computed from other parameters"):
        initialise(net, init)
    assert torch.equal(net[0].weight, before)
    initialise(net, "default")


def test_a_spec_reads_back_equal():
    table = schema.plain(SPEC)
    assert schema.read(ModelSpec, table) == SPEC
    other = dataclasses.replace(SPEC, name="conv-2", init="kaiming-normal", dropout=0.5)
    assert schema.read(ModelSpec, schema.plain(other)) == other
