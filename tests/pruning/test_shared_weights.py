"""A weight that two layers share counts as one weight."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from robust_tickets.base.ledger import Ledger
from robust_tickets.base.progress import StageProgress
from robust_tickets.pruning.layers import LayerRoles, layer_roles, prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import Masking
from robust_tickets.recipe.fields import Search
from robust_tickets.tickets.methods.base import SearchTask
from robust_tickets.tickets.search import find_ticket
from robust_tickets.training.config import Session
from robust_tickets.training.loop import fit


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


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
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
