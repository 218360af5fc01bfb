"""Channels beside logits that are scaled, parameters of the network's own, and code that checks its state."""

import pytest
import torch
from torch import nn
from torch.ao.quantization import FakeQuantize, MovingAverageMinMaxObserver

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.channel_groups import channel_groups
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.training_fields import Search
from robust_tickets.tickets.compact_net import compact_net
from robust_tickets.tickets.pruning_step import pruning_step

SHAPE = (1, 4, 4)
LOGITS = {
    "scaled": lambda y: y / 0.07,
    "shifted": lambda y: y - y.mean(1, keepdim=True),
    "through an activation": lambda y: 5 * torch.tanh(y),
    "twice": lambda y: y + y.relu(),
    "with a temperature": nn.Parameter(torch.ones(())),
    "with a scale for each class": nn.Parameter(torch.ones(3)),
}


class Net(nn.Module):
    """Two convolutions of 16 filters, and logits of three classes."""

    def __init__(self, after=lambda y: y):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 1), nn.Linear(16, 3)
        self.after = after

    def between(self, h):
        return h

    def forward(self, x):
        y = self.head(self.b(self.between(self.a(x)).relu()).relu().mean((2, 3)))
        return self.after * y if isinstance(self.after, nn.Parameter) else self.after(y)


class LayerScale(nn.Module):
    """As timm's, with a value a channel."""

    def __init__(self, *shape):
        super().__init__()
        self.gamma = nn.Parameter(torch.full(shape, 0.1))

    def forward(self, h):
        return h * self.gamma


class WithScale(Net):
    def __init__(self, *shape):
        super().__init__()
        self.scale = LayerScale(*shape)

    def between(self, h):
        return self.scale(h)


class Shifted(WithScale):
    def between(self, h):
        return h + self.scale.gamma


class Permuted(Net):
    """Its pixels in the order of an integer parameter."""

    def __init__(self):
        super().__init__()
        self.order = nn.Parameter(torch.arange(16).flip(0), requires_grad=False)

    def forward(self, x):
        return super().forward(x.flatten(1)[:, self.order].reshape(x.shape))


class Quantised(Net):
    """Fake quantisation, whose code refuses statistics that make no sense."""

    def __init__(self):
        super().__init__()
        self.quantise = FakeQuantize(MovingAverageMinMaxObserver, quant_min=0, quant_max=255)

    def forward(self, x):
        return super().forward(self.quantise(x))


def prune_half(net):
    """The shapes of the small network's parameters after one round of channels."""
    step, mask = pruning_step(net, Search(granularity="channel", ratio=0.5), SHAPE), Mask.full(net)
    step.check(net, mask, 1, compact=True)
    scores = {name: torch.arange(entries.numel()).reshape(entries.shape) for name, entries in mask.items()}
    small = step.compact(net, step.prune(scores, mask))
    return {name: tuple(parameter.shape) for name, parameter in small.net.named_parameters()}


@pytest.mark.parametrize("after", LOGITS.values(), ids=LOGITS)
def test_logits_are_no_channels_whatever_becomes_of_them(after):
    net = Net(after)
    assert [group.name for group in channel_groups(net, SHAPE)] == ["a.weight", "b.weight"]
    shapes = prune_half(net)
    assert shapes["head.weight"][0] == 3
    assert shapes["a.weight"][0] + shapes["b.weight"][0] == 16


def test_features_that_are_given_out_with_logits_are_kept():
    class Out(Net):
        def forward(self, x):
            h = self.a(x).mean((2, 3))
            return torch.cat([self.head(h), h], 1)

    with pytest.raises(InputError, match="no channels are left to prune"):
        pruning_step(Out(), Search(granularity="channel"), SHAPE)


@pytest.mark.parametrize("shape", [(16, 1, 1), (1, 16, 1, 1)])
def test_a_value_a_channel_is_removed_with_its_channel(shape):
    torch.manual_seed(0)
    shapes = prune_half(WithScale(*shape))
    kept = shapes["a.weight"][0]
    assert kept < 16
    assert shapes["scale.gamma"] == tuple(kept if n == 16 else n for n in shape)
    assert shapes["b.weight"][1] == kept


def test_a_shift_is_removed_with_channels_that_nothing_reads_and_missed_behind_dead_filters():
    net = Shifted(16, 1, 1)
    assert prune_half(net)["scale.gamma"][0] < 16
    entries = {name: kept.clone() for name, kept in Mask.full(net).items()}
    entries["a.weight"][:8] = False
    with pytest.raises(InputError, match=r"the channels of a\.weight cannot be removed"):
        compact_net(net, Mask(entries), SHAPE)
    small = compact_net(WithScale(16, 1, 1), Mask(entries), SHAPE).net
    assert small.scale.gamma.shape == (8, 1, 1)


def test_a_parameter_of_other_dimensions_is_named():
    with pytest.raises(
        InputError, match=r"a\.weight cannot be pruned; scale\.gamma \(Parameter\): it has more"
    ):
        prune_half(WithScale(16, 2, 2))


@pytest.mark.parametrize("net", [Permuted, Quantised])
def test_integer_parameters_and_statistics_that_are_checked_are_let_be(net):
    shapes = prune_half(net())
    assert shapes["a.weight"][0] + shapes["b.weight"][0] == 16
