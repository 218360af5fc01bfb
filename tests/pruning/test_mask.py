"""Masks: counting, packing, fitting, what they do to a network, shared weights, and layer densities."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.progress import StageProgress
from robust_tickets.pruning.densities import DENSITIES, layer_counts, random_mask
from robust_tickets.pruning.layers import LayerRoles, layer_roles, prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import Masking
from robust_tickets.recipe.training_fields import Search
from robust_tickets.tickets.methods.base import SearchTask
from robust_tickets.tickets.search import find_ticket
from robust_tickets.training.config import Session
from robust_tickets.training.loop import fit


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


class Shared(nn.Module):
    """Two layers with one weight and a bias each, then an output."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = self.second(self.first(x.flatten(1)).relu()).relu()
        return self.head(x)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Shared()


def test_a_shared_weight_is_one_entry_of_the_mask(net):
    assert list(prunable_weights(net)) == ["first.weight", "head.weight"]
    assert Mask.full(net).size == 64 * 64 + 640
    assert layer_roles(net, (1, 8, 8)) == LayerRoles(None, "head.weight", frozenset({"first.weight"}))


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "muon"])
def test_both_layers_are_masked_after_every_step(optimiser, net, tiny_data, config):
    entries = torch.rand(64, 64, generator=torch.Generator().manual_seed(1)) < 0.5
    mask = Mask({**Mask.full(net), "first.weight": entries})

    class Watch(StageProgress):
        steps = 0

        def advance(self, steps, passes):
            Watch.steps += 1
            assert net.second.weight is net.first.weight
            assert torch.all(net.second.weight[~entries] == 0.0)
            assert torch.all(net.second.weight[entries] != 0.0)

    config = replace(config, settings=replace(config.settings, method="fgsm", optimiser=optimiser))
    fit(net, mask, tiny_data, config, Session(Ledger("train"), Watch()))
    assert Watch.steps == 8


def test_a_pruned_entry_is_counted_once(net):
    entries = torch.ones(64, 64, dtype=torch.bool)
    entries[:, :7] = False
    mask = Mask({**Mask.full(net), "first.weight": entries})
    assert Masking(net, mask, {}).zeros == 7 * 64 == mask.size - mask.count


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_search_removes_its_exact_share(scope, net, tiny_data, config):
    search = Search(method="natural", scope=scope, ratio=0.3, rounds=2, batch=32, lr=0.05)
    config = replace(config, settings=search)
    result = find_ticket(search, SearchTask(net, tiny_data, config, Session(Ledger("search"))))
    sizes = [64 * 64 + 640] if scope == "global" else [64 * 64, 640]
    for _ in range(2):
        sizes = [size - round(0.3 * size) for size in sizes]
    assert result.mask.count == sum(sizes)


SHAPES = st.dictionaries(
    st.sampled_from("abcdef"),
    st.one_of(
        st.tuples(st.integers(4, 64), st.integers(4, 64)),
        st.tuples(st.integers(4, 64), st.integers(4, 64), st.just(3), st.just(3)),
    ),
    min_size=1,
)
PUBLISHED = {
    "uniform": lambda s: 1,
    "er": lambda s: 1 / s[0] + 1 / s[1],
    "erk": lambda s: (s[0] + s[1] + sum(s[2:])) / math.prod(s),
}


@settings(deadline=None, derandomize=True, database=None, max_examples=150)
@given(shapes=SHAPES, kind=st.sampled_from(sorted(DENSITIES)), density=st.floats(0.2, 1))
def test_counts_add_up_and_densities_have_the_published_ratio(shapes, kind, density):
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    count = round(density * sum(sizes.values()))
    counts = layer_counts(shapes, count, kind)
    assert sum(counts.values()) == count
    assert all(1 <= counts[name] <= size for name, size in sizes.items())
    published = {name: PUBLISHED[kind](shape) for name, shape in shapes.items()}
    partial = [name for name in shapes if counts[name] < sizes[name]]
    # one factor for all layers that are not whole, to the rounding of a count; whole ones would want more
    factors = [counts[name] / sizes[name] / published[name] for name in partial]
    slack = {name: 1.001 / sizes[name] / published[name] for name in shapes}
    for one, first in zip(partial, factors, strict=True):
        for other, second in zip(partial, factors, strict=True):
            assert abs(first - second) <= slack[one] + slack[other]
        for name in shapes.keys() - set(partial):
            assert first + slack[one] + slack[name] >= 1 / published[name]


def test_a_layer_that_would_get_nothing_is_named():
    with pytest.raises(InputError, match=r"densities uniform leave nothing of b: .* lower search.ratio"):
        layer_counts({"a": (100, 100), "b": (3, 3)}, 100, "uniform")


def test_positions_depend_on_the_seed_and_ignored_layers_stay_whole():
    full = Mask({name: torch.ones(30, 20, dtype=torch.bool) for name in "abc"})
    masks = [random_mask(full, 0.7, "uniform", seed, frozenset("b")) for seed in (0, 0, 1)]
    assert masks[0] == masks[1] != masks[2]
    assert [int(entries.sum()) for entries in masks[0].values()] == [180, 600, 180]
