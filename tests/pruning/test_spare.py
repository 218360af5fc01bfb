"""Layers that a search leaves whole, and what each layer is to the net."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.progress import StageProgress
from robust_tickets.pruning.criteria import prune, prune_round, spared_layers
from robust_tickets.pruning.layer_roles import LayerRoles, layer_roles
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.fields import Search
from robust_tickets.tickets.search import find_ticket

ROLES = LayerRoles("body.conv1.weight", "head.weight", frozenset({"fc.weight"}))
SHAPES = {
    "body.conv1.weight": (8, 1, 3, 3),
    "body.conv2.weight": (8, 8, 3, 3),
    "body.shortcut.weight": (8, 8, 1, 1),
    "fc.weight": (20, 8),
    "head.weight": (10, 20),
}
FULL = Mask({name: torch.ones(shape, dtype=torch.bool) for name, shape in SHAPES.items()})


def scores(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=generator) for name, shape in SHAPES.items()}


@pytest.mark.parametrize(
    ("changes", "whole"),
    [
        ({}, set()),
        ({"prune_first_conv": False}, {"body.conv1.weight"}),
        ({"prune_output": False}, {"head.weight"}),
        ({"ignored_layers": "*shortcut*"}, {"body.shortcut.weight"}),
        ({"ignored_layers": "body.conv?.weight"}, {"body.conv1.weight", "body.conv2.weight"}),
        ({"ignored_layers": "  fc.weight   *shortcut* "}, {"fc.weight", "body.shortcut.weight"}),
        (
            {"ignored_layers": "fc.*", "prune_first_conv": False, "prune_output": False},
            {"fc.weight", "head.weight", "body.conv1.weight"},
        ),
    ],
)
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_spared_layers_stay_whole_and_others_do_not(scope, changes, whole):
    search = Search(scope=scope, ratio=0.4, **changes)
    assert spared_layers(search, FULL, ROLES) == whole
    mask = FULL
    for number in range(3):
        mask = prune_round(search, scores(number), mask, ROLES)
    assert {name for name in mask if bool(mask[name].all())} == whole


@settings(deadline=None)
@given(st.sets(st.sampled_from(list(SHAPES)), max_size=4), st.floats(0.01, 0.9), st.integers(0, 50))
def test_spared_weights_do_not_count_for_the_whole_net(names, ratio, seed):
    """The cut of the others is as if the spared ones were not there."""
    search = Search(ratio=ratio, ignored_layers=" ".join(sorted(names)))
    mask = FULL
    for number in range(2):
        given_ = scores(seed + number)
        others = Mask({name: keep for name, keep in mask.items() if name not in names})
        try:
            alone = prune(given_, others, ratio)
        except InputError:  # a layer would be left empty: refused in both
            with pytest.raises(InputError, match="leaves nothing of"):
                prune_round(search, given_, mask, ROLES)
            return
        cut = prune_round(search, given_, mask, ROLES)
        assert list(cut) == list(mask)
        assert others.kept - alone.kept == round(ratio * others.kept)
        assert all(torch.equal(cut[name], alone[name] if name in alone else FULL[name]) for name in cut)
        mask = cut


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize(
    ("changes", "roles_", "words"),
    [
        (
            {"ignored_layers": "fc.* *short_cut*"},
            ROLES,
            r"search\.ignored_layers '\*short_cut\*' fits no weight.*body\.shortcut",
        ),
        ({"ignored_layers": "conv1"}, ROLES, r"search\.ignored_layers 'conv1' fits no weight"),
        ({"prune_first_conv": False}, replace(ROLES, first_conv=None), r"leave out search\.prune_first_conv"),
        (
            {"ignored_layers": "*"},
            ROLES,
            r"no layer is left to prune: all of body\.conv1\.weight.*search\.ignored_layers",
        ),
        (
            {"ignored_layers": "fc.* *2* *cut*", "prune_first_conv": False, "prune_output": False},
            ROLES,
            r"no layer is left to prune.*search\.prune_first_conv or search\.prune_output be true",
        ),
    ],
)
def test_what_cannot_be_spared_is_refused_by_name(scope, changes, roles_, words):
    with pytest.raises(InputError, match=words):
        prune_round(Search(scope=scope, **changes), scores(), FULL, roles_)


def test_it_is_refused_before_a_step_is_taken(conv_net, tiny_data, how):
    class Never(StageProgress):
        def advance(self, steps, passes):
            raise AssertionError("trained for nothing")

    with pytest.raises(InputError, match="'stem' fits no weight"):
        find_ticket(conv_net, tiny_data, Search(ignored_layers="stem"), how, Ledger("search"), Never())


def test_roles_are_seen_while_the_net_runs_and_leave_it_as_it_was(conv_net):
    conv_net.train()
    conv_net.layer1.eval()
    modes = {name: module.training for name, module in conv_net.named_modules()}
    before = {name: value.clone() for name, value in conv_net.state_dict().items()}
    found = layer_roles(conv_net, (1, 8, 8))
    assert found == LayerRoles("conv1.weight", "linear.weight", frozenset())
    assert {name: module.training for name, module in conv_net.named_modules()} == modes
    assert all(torch.equal(before[name], value) for name, value in conv_net.state_dict().items())
    assert not any(module._forward_hooks for module in conv_net.modules())


def test_a_net_that_fails_is_left_as_it_was():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Linear(64, 10)).train()
    with pytest.raises(RuntimeError):
        layer_roles(net, (1, 8, 8))
    assert all(module.training and not module._forward_hooks for module in net.modules())


def test_a_net_that_nothing_can_be_pruned_of_is_refused():
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64))
    with pytest.raises(InputError, match=r"no convolution and no linear layer.*nn\.Conv2d and nn\.Linear"):
        layer_roles(net, (1, 8, 8))
