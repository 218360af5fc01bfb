"""Compaction is proved where live channels are negative too: a dead channel may then be the largest."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.mask import Mask
from robust_tickets.tickets.compact_net import compact_net

SHAPE = (1, 4, 4)
DEAD = range(0, 16, 2)
UNEQUAL = {
    "times the largest channel": lambda h: h * h.amax(1, keepdim=True),
    "the largest four": lambda h: h * (h >= h.topk(4, 1).values[:, -1:]),
    "times the smallest channel of the negative": lambda h: -h * (-h).amin(1, keepdim=True),
    "sign of the largest, behind ReLU": lambda h: F.relu(-h) * (h.amax(1, keepdim=True) >= 0),
}
EQUAL = {
    "largest behind ReLU": lambda h: F.relu(h) * F.relu(h).amax(1, keepdim=True),
    "largest magnitude": lambda h: h * h.abs().amax(1, keepdim=True),
    "leaky": lambda h: F.leaky_relu(h, 0.1),
    "in place": lambda h: h.mul_(2),
}


class Gate(nn.Module):
    """Sixteen channels, a function of them, and two layers behind ReLUs."""

    def __init__(self, gate, norm):
        super().__init__()
        self.gate = gate
        self.a, self.b = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 8, 1)
        self.norm = nn.BatchNorm2d(16) if norm else nn.Identity()
        self.c = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        h = F.relu(self.c(F.relu(self.b(self.gate(self.norm(self.a(x)))))))
        return self.head(h.mean((2, 3)))


def compact(gate, norm):
    net = Gate(gate, norm)
    entries = dict(Mask.full(net))
    entries["a.weight"] = entries["a.weight"].clone()
    entries["a.weight"][list(DEAD)] = False
    return compact_net(net, Mask(entries), SHAPE)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("gate", UNEQUAL.values(), ids=UNEQUAL)
def test_what_differs_where_channels_are_negative_is_not_removed(gate, norm):
    with pytest.raises(InputError, match=r"the channels of a\.weight cannot be removed"):
        compact(gate, norm)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("gate", EQUAL.values(), ids=EQUAL)
def test_what_is_the_same_for_all_signs_is_removed(gate, norm):
    small = compact(gate, norm)
    assert small.plan.removed_channels == len(DEAD)
    assert small.net.a.weight.shape[0] == 16 - len(DEAD)


def test_what_is_not_finite_for_negative_channels_is_removed():
    assert compact(torch.log1p, norm=False).plan.removed_channels == len(DEAD)
