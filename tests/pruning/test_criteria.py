"""Pruning over all layers together, against its definition and against torch.nn.utils.prune."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune
from training_case import same_state

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))


def pruned(net, ratio, criterion="magnitude"):
    full = Mask.full(net)
    return prune(SCORES[criterion](prunable_weights(net), full), full, ratio)


@settings(deadline=None)
@given(st.integers(0, 3), st.floats(0.01, 0.9), st.integers(1, 3), st.integers(0, 100))
def test_removes_the_exact_count_with_ties(distinct, ratio, rounds, seed):
    """Scores with few distinct values: a threshold would take all ties or none."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (40, 5), "b": (30,), "c": (7, 11)}
    scores = {n: torch.randint(distinct + 1, s, generator=generator).float() for n, s in shapes.items()}
    mask = Mask({n: torch.ones(s, dtype=torch.bool) for n, s in shapes.items()})
    for _ in range(rounds):
        try:
            sparser = prune(scores, mask, ratio)
        except InputError:  # a whole layer of low scores would go: refused, which is another law
            return
        assert mask.count - sparser.count == round(ratio * mask.count)
        assert all((sparser[n] <= mask[n]).all() for n in mask), "a mask only shrinks"
        removed = torch.cat([scores[n][mask[n] & ~sparser[n]] for n in mask])
        left = torch.cat([scores[n][sparser[n]] for n in mask])
        if len(removed):
            assert removed.max() <= left.min()
        mask = sparser


def test_ties_are_broken_by_position():
    mask = Mask({"a": torch.ones(4, dtype=torch.bool), "b": torch.ones(4, dtype=torch.bool)})
    scores = {"a": torch.tensor([1.0, 0.0, 0.0, 0.0]), "b": torch.tensor([0.0, 0.0, 1.0, 1.0])}
    sparser = prune(scores, mask, 0.5)
    # five zeros, four of which go: the first four
    assert sparser["a"].tolist() == [True, False, False, False]
    assert sparser["b"].tolist() == [False, True, True, True]


def test_global_magnitude_is_torch_prune():
    ours, theirs = small_net(), small_net()
    mask = pruned(ours, 0.7)
    torch_prune.global_unstructured(
        [(theirs[0], "weight"), (theirs[3], "weight")], torch_prune.L1Unstructured, amount=0.7
    )
    assert torch.equal(mask["0.weight"], theirs[0].weight_mask.bool())
    assert torch.equal(mask["3.weight"], theirs[3].weight_mask.bool())


def test_magnitude_over_layer_mean_is_the_released_formula():
    net = small_net()
    scores = SCORES["magnitude-over-layer-mean"](prunable_weights(net), Mask.full(net))
    for name, weight in prunable_weights(net).items():
        torch.testing.assert_close(scores[name], weight.detach().abs() / weight.detach().abs().mean())


@pytest.mark.parametrize("criterion", SCORES)
def test_scores_leave_the_network_alone(criterion):
    net = small_net()
    before = copy.deepcopy(net.state_dict())
    pruned(net, 0.5, criterion)
    assert same_state(net.state_dict(), before)


def test_a_layer_that_would_be_empty_is_named():
    net = small_net()
    with torch.no_grad():
        net[0].weight *= 1e-6
    with pytest.raises(InputError, match=r"nothing of 0\.weight: lower search\.ratio"):
        pruned(net, 0.5)


def test_weights_that_are_not_finite_are_refused():
    net = small_net()
    with torch.no_grad():
        net[0].weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="diverged"):
        pruned(net, 0.5)
