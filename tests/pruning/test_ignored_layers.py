"""Layers that a search never prunes, and the roles of a network's layers."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from training_case import same_state

from robust_tickets.base.errors import InputError
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.criteria import ignored_layers, prune, prune_round
from robust_tickets.pruning.layers import LayerRoles, layer_roles
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.training_fields import Search

ROLES = LayerRoles("body.conv1.weight", "head.weight", frozenset({"fc.weight"}))
SHAPES = {
    "body.conv1.weight": (8, 1, 3, 3),
    "body.conv2.weight": (8, 8, 3, 3),
    "body.shortcut.weight": (8, 8, 1, 1),
    "fc.weight": (20, 8),
    "head.weight": (10, 20),
}
FULL = Mask({name: torch.ones(shape, dtype=torch.bool) for name, shape in SHAPES.items()})


def random_scores(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=generator) for name, shape in SHAPES.items()}


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        ({}, set()),
        ({"prune_first_conv": False}, {"body.conv1.weight"}),
        ({"prune_output": False}, {"head.weight"}),
        ({"ignored_layers": "body.conv?.weight"}, {"body.conv1.weight", "body.conv2.weight"}),
        ({"ignored_layers": "  fc.weight   *shortcut* "}, {"fc.weight", "body.shortcut.weight"}),
        (
            {"ignored_layers": "fc.*", "prune_first_conv": False, "prune_output": False},
            {"fc.weight", "head.weight", "body.conv1.weight"},
        ),
    ],
)
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_ignored_layers_alone_stay_whole(scope, fields, ignored):
    search = Search(scope=scope, ratio=0.4, **fields)
    assert ignored_layers(search, FULL, ROLES) == ignored
    mask = FULL
    for number in range(3):
        mask = prune_round(search, random_scores(number), mask, ROLES)
    assert {name for name in mask if bool(mask[name].all())} == ignored


@settings(deadline=None)
@given(st.sets(st.sampled_from(list(SHAPES)), max_size=4), st.floats(0.01, 0.9), st.integers(0, 50))
def test_other_layers_are_pruned_as_if_ignored_ones_did_not_exist(names, ratio, seed):
    search = Search(ratio=ratio, ignored_layers=" ".join(sorted(names)))
    mask = FULL
    for number in range(2):
        scores = random_scores(seed + number)
        others = Mask({name: entries for name, entries in mask.items() if name not in names})
        try:
            alone = prune(scores, others, ratio)
        except InputError:  # a layer would be left empty: refused in both
            with pytest.raises(InputError, match="leaves nothing of"):
                prune_round(search, scores, mask, ROLES)
            return
        sparser = prune_round(search, scores, mask, ROLES)
        assert list(sparser) == list(mask)
        assert others.count - alone.count == round(ratio * others.count)
        assert all(torch.equal(sparser[n], alone[n] if n in alone else FULL[n]) for n in sparser)
        mask = sparser


@pytest.mark.parametrize(
    ("fields", "roles", "words"),
    [
        (
            {"ignored_layers": "fc.* *short_cut*"},
            ROLES,
            r"search\.ignored_layers '\*short_cut\*' fits no weight.*body\.shortcut",
        ),
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
def test_layers_that_cannot_be_ignored_are_named(fields, roles, words):
    with pytest.raises(InputError, match=words):
        ignored_layers(Search(**fields), FULL, roles)


def test_roles_leave_the_network_as_it_was(conv_net):
    conv_net.train()
    conv_net.layer1.eval()
    modes = {name: module.training for name, module in conv_net.named_modules()}
    before = copy_state(conv_net)
    assert layer_roles(conv_net, (1, 8, 8)) == LayerRoles("conv1.weight", "linear.weight", frozenset())
    with pytest.raises(RuntimeError):
        layer_roles(conv_net, (2, 8, 8))  # it fails in the first layer
    assert {name: module.training for name, module in conv_net.named_modules()} == modes
    assert same_state(conv_net.state_dict(), before)
    assert not any(module._forward_hooks for module in conv_net.modules())


def test_a_network_without_prunable_layers_is_refused():
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64))
    with pytest.raises(InputError, match=r"no convolution and no linear layer.*nn\.Conv2d and nn\.Linear"):
        layer_roles(net, (1, 8, 8))
