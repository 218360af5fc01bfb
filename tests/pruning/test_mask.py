"""Masks: counting, packing, fitting, and what masking does to a network."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import Masking


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 9)), min_size=1, max_size=4), st.integers(0, 99))
def test_packing_loses_nothing(shapes, seed):
    generator = torch.Generator().manual_seed(seed)
    mask = Mask({str(i): torch.rand(s, generator=generator) < 0.5 for i, s in enumerate(shapes)})
    bits = mask.pack()
    assert sum(b.numel() for b in bits.values()) == sum(-(-a * b // 8) for a, b in shapes)
    assert Mask.unpack(bits, {name: entries.shape for name, entries in mask.items()}) == mask


def test_packed_bits_of_another_shape_are_refused():
    bits = Mask({"a": torch.ones(4, 4, dtype=torch.bool)}).pack()
    with pytest.raises(InputError, match="packed mask of a"):
        Mask.unpack(bits, {"a": torch.Size((4, 5))})


def test_density_counts_weights_of_convolutions_and_linear_layers_alone():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 4))
    assert list(prunable_weights(net)) == ["0.weight", "3.weight"]
    mask = Mask.full(net)
    assert mask.size == mask.count == 18 + 32
    assert Mask({**mask, "0.weight": torch.zeros(2, 1, 3, 3, dtype=torch.bool)}).density == 32 / 50


def test_a_mask_that_does_not_fit_is_refused_by_name():
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    mask = dict(Mask.full(net))
    with pytest.raises(InputError, match=r"1\.weight is missing"):
        Mask({"0.weight": mask["0.weight"]}).check_fits(net)
    with pytest.raises(InputError, match=r"2\.weight is not in the network"):
        Mask({**mask, "2.weight": mask["0.weight"]}).check_fits(net)
    with pytest.raises(InputError, match=r"1\.weight is \(3, 4\), in the network \(2, 3\)"):
        Mask({**mask, "1.weight": mask["0.weight"]}).check_fits(net)


def test_masking_leaves_unpruned_weights_bit_for_bit():
    net = nn.Sequential(nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last), nn.BatchNorm2d(8))
    before = net[0].weight.detach().clone()
    entries = torch.rand(8, 3, 3, 3) < 0.5
    entries[2] = False
    masking = Masking(net, Mask({"0.weight": entries}), {"0": "1"})
    masking.mask_parameters()
    assert torch.equal(net[0].weight[entries], before[entries])
    assert torch.all(net[0].weight[~entries] == 0.0)
    assert net[0].bias[2] == net[1].weight[2] == net[1].bias[2] == 0.0
    assert net[1].weight[3] == 1.0
    assert masking.zeros == int((~entries).sum()) + 3
