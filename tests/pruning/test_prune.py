"""The cut, against its definition and against torch.nn.utils.prune."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.mask import Mask, prunable
from robust_tickets.pruning.scores import SCORES


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))


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
            cut = prune(scores, mask, ratio)
        except InputError:  # a whole layer of low scores would go: refused, which is another law
            return
        assert mask.kept - cut.kept == round(ratio * mask.kept)
        assert all((cut[n] <= mask[n]).all() for n in mask), "a mask only shrinks"
        gone = torch.cat([scores[n][mask[n] & ~cut[n]] for n in mask])
        stay = torch.cat([scores[n][cut[n]] for n in mask])
        if len(gone):
            assert gone.max() <= stay.min()
        mask = cut


def test_ties_are_broken_by_position():
    mask = Mask({"a": torch.ones(4, dtype=torch.bool), "b": torch.ones(4, dtype=torch.bool)})
    scores = {"a": torch.tensor([1.0, 0.0, 0.0, 0.0]), "b": torch.tensor([0.0, 0.0, 1.0, 1.0])}
    cut = prune(scores, mask, 0.5)
    assert cut["a"].tolist() == [True, False, False, False]
    # five zeros, four places: the first four in order of position go
    assert cut["b"].tolist() == [False, True, True, True]


def test_global_magnitude_is_torch_prune():
    ours, theirs = net(), net()
    mask = Mask.full(ours)
    cut = prune(SCORES["magnitude"](prunable(ours), mask), mask, 0.7)
    torch_prune.global_unstructured(
        [(theirs[0], "weight"), (theirs[3], "weight")], torch_prune.L1Unstructured, amount=0.7
    )
    assert torch.equal(cut["0.weight"], theirs[0].weight_mask.bool())
    assert torch.equal(cut["3.weight"], theirs[3].weight_mask.bool())


def test_scores_over_the_layer_mean_ignore_a_layer_s_scale():
    plain, scaled = net(), net()
    with torch.no_grad():
        scaled[0].weight *= 1000
    mask = Mask.full(plain)
    name = "magnitude-over-layer-mean"
    assert prune(SCORES[name](prunable(plain), mask), mask, 0.8) == prune(
        SCORES[name](prunable(scaled), mask), mask, 0.8
    )
    assert prune(SCORES["magnitude"](prunable(plain), mask), mask, 0.5) != prune(
        SCORES["magnitude"](prunable(scaled), mask), mask, 0.5
    )


def test_scores_over_the_layer_mean_are_the_released_formula():
    model = net()
    mask = Mask.full(model)
    scores = SCORES["magnitude-over-layer-mean"](prunable(model), mask)
    for name, weight in prunable(model).items():
        torch.testing.assert_close(scores[name], weight.detach().abs() / weight.detach().abs().mean())
    assert float(scores["0.weight"].mean()) == pytest.approx(1.0)


def test_scores_leave_the_net_alone():
    model = net()
    before = copy.deepcopy(model.state_dict())
    for score in SCORES.values():
        score(prunable(model), Mask.full(model))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_layer_that_would_be_empty_is_named():
    model = net()
    with torch.no_grad():
        model[0].weight *= 1e-6
    mask = Mask.full(model)
    with pytest.raises(InputError, match=r"nothing of 0\.weight: lower search\.ratio"):
        prune(SCORES["magnitude"](prunable(model), mask), mask, 0.5)


def test_weights_that_are_not_finite_are_refused():
    model = net()
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] = torch.nan
    mask = Mask.full(model)
    with pytest.raises(InputError, match="diverged"):
        prune(SCORES["magnitude"](prunable(model), mask), mask, 0.5)
