"""Initial weights of any network, by name and seed."""

import dataclasses
import math

import pytest
import torch
from narrow_nets import FULL
from torch import nn
from torch.nn.utils import parametrizations

from robust_tickets.base.errors import InputError
from robust_tickets.models.init import INITS, initialise
from robust_tickets.models.registry import build

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
DRAWS = {
    "glorot-normal": nn.init.xavier_normal_,
    "kaiming-normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
}


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
def test_other_layers_are_unchanged_and_by_default_all_and_the_generator(init):
    net = other_net()
    others = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm | nn.Embedding)]
    for layer in others:
        nn.init.uniform_(layer.weight)
    unchanged = net if init == "default" else nn.ModuleList(others)
    before, state = {k: t.clone() for k, t in unchanged.state_dict().items()}, torch.get_rng_state()
    initialise(net, init)
    assert all(torch.equal(t, before[k]) for k, t in unchanged.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) == (init == "default")


def test_inits_differ():
    nets = [build(dataclasses.replace(FULL, init=init), seed=0) for init in INITS]
    weights = [net.layer3[0].conv1.weight.detach() for net in nets]
    looks = {(round(float(w.std()), 3), round(float(w.abs().max() / w.std()), 1)) for w in weights}
    assert len(looks) == len(INITS)


def test_a_signed_constant_is_the_kaiming_normal_draw_s_sign_at_its_deviation():
    net, normal = (
        build(dataclasses.replace(FULL, init=init), seed=0) for init in ("signed-constant", "kaiming-normal")
    )
    for module, other in zip(net.modules(), normal.modules(), strict=True):
        if isinstance(module, LAYERS):
            size = math.sqrt(2 / module.weight[0].numel())
            assert torch.equal(module.weight, other.weight.sign() * size)
            assert module.bias is None or not bool(module.bias.any())


@pytest.mark.parametrize("name", ["lenet-300-100", "conv-6", "vgg16", "resnet20"])
def test_the_default_is_pytorch_s(name):
    net = build(dataclasses.replace(FULL, name=name, width=0.5), seed=7)
    for weight in (m.weight for m in net.modules() if isinstance(m, LAYERS)):
        bound = 1 / math.sqrt(weight[0].numel())  # PyTorch draws uniformly up to 1 / sqrt(fan_in)
        assert 0.9 < float(weight.detach().abs().max()) / bound < 1.001


def test_the_default_of_wide_resnets_is_the_paper_s_by_fan_out():
    net = build(dataclasses.replace(FULL, name="wrn10-2"), seed=0)
    for layer in (m for m in net.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 8000):
        expected = math.sqrt(2 / (layer.out_channels * math.prod(layer.kernel_size)))
        assert abs(float(layer.weight.detach().std()) / expected - 1) < 5 / math.sqrt(layer.weight.numel())
    assert not net.fc.bias.any()


@pytest.mark.parametrize("init", DRAWS)
def test_a_computed_weight_is_refused_before_any_draw(init):
    net = nn.Sequential(nn.Linear(4, 3), parametrizations.weight_norm(nn.Linear(3, 2)))
    before = net[0].weight.clone()
    with pytest.raises(InputError, match="weight of '1' is computed from other parameters"):
        initialise(net, init)
    assert torch.equal(net[0].weight, before)
    initialise(net, "default")
