"""Biases that several layers share, or that the forward reads itself, are live where one filter is dead."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import masking_for
from robust_tickets.pruning.shared_parameters import shared_parameters

SHAPE = (1, 4, 4)


class Pair(nn.Module):
    """Two layers of four filters and logits; the ways below share the bias of the first."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.a, self.b = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)
        nn.init.ones_(self.a.bias)
        nn.init.ones_(self.b.bias)
        if way == "tied":
            self.b.bias = self.a.bias

    def forward(self, x):
        h = F.relu(self.a(x))
        if self.way == "norm called twice":
            return self.head(self.norm(self.b(self.norm(h))).mean((2, 3)))
        h = self.b(h)
        if self.way == "read":
            h = h + self.a.bias[:, None, None]
        if self.way == "called twice":
            h = self.b(h)
        return self.head(h.mean((2, 3)))


def with_dead_filter(net, name):
    entries = dict(Mask.full(net))
    entries[name] = entries[name].clone()
    entries[name][0] = False
    return Mask(entries)


@pytest.mark.parametrize("way", ["tied", "read"])
def test_a_bias_with_another_use_is_not_held_at_zero(way):
    net = Pair(way)
    assert shared_parameters(net, SHAPE) == {"a.bias"}
    masking_for(net, with_dead_filter(net, "a.weight"), SHAPE).mask_parameters()
    assert not net.a.weight[0].any()
    assert net.a.bias.tolist() == [1, 1, 1, 1]


def test_the_bias_of_a_layer_that_is_called_twice_is_held_at_zero():
    net = Pair("called twice")
    assert shared_parameters(net, SHAPE) == set()
    masking_for(net, with_dead_filter(net, "b.weight"), SHAPE).mask_parameters()
    assert net.b.bias.tolist() == [0, 1, 1, 1]
    masking_for(net, with_dead_filter(net, "a.weight"), SHAPE).mask_parameters()
    assert net.a.bias.tolist() == [0, 1, 1, 1]


def test_a_norm_behind_a_dead_and_a_live_filter_is_left_alone():
    net = Pair("norm called twice")
    masking_for(net, with_dead_filter(net, "a.weight"), SHAPE).mask_parameters()
    assert net.norm.weight.tolist() == [1, 1, 1, 1]
    assert torch.equal(net.a.bias, torch.tensor([0.0, 1, 1, 1]))


def test_the_bias_of_a_frozen_network_and_one_that_fails_have_no_other_use():
    assert shared_parameters(Pair("read").requires_grad_(False), SHAPE) == set()
    assert shared_parameters(Pair("read"), (3, 4, 4)) == set()  # what is not seen is not claimed
    assert shared_parameters(Pair("tied"), (3, 4, 4)) == {"a.bias"}
