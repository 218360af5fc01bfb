"""HYDRA: a training of the weights, and one of scores that begin as the weights' magnitudes."""

from dataclasses import replace

import pytest
import torch
from torch.func import functional_call
from training_case import EveryState, same_state, train

from robust_tickets.base.ledger import Ledger
from robust_tickets.models.weights import copy_state, load_weights
from robust_tickets.pruning.channel_groups import channel_groups
from robust_tickets.pruning.compaction import all_channels, channel_mask, live_channels
from robust_tickets.pruning.criteria import prune_by_layer
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe.fields import Model
from robust_tickets.recipe.training_fields import Training
from robust_tickets.stages import costs
from robust_tickets.tickets.methods.hydra import HydraSettings
from robust_tickets.tickets.pruning_step import ChannelStep
from robust_tickets.tickets.score_training import ChannelScores, WeightScores, scores_by_magnitude

SHAPE = (1, 8, 8)


@pytest.fixture
def recipe(tiny_recipe):
    """Six steps of the weights and five of the scores, on a network with BatchNorm."""
    search = replace(
        tiny_recipe.search,
        **{"method": "natural", "pruning_method": "hydra", "rounds": 1, "iterations": 6, "ratio": 0.6},
        **{"hydra": HydraSettings(iterations=5, lr=0.3)},
    )
    return replace(tiny_recipe, model=Model("resnet20", width=0.5), search=search)


def test_it_trains_the_weights_and_then_which_of_them_are_kept(recipe, tiny_data, search_of):
    search = search_of(recipe)
    rounds = []
    result = search.run(save=rounds.append)
    net = search.net()
    train(net, None, tiny_data, search.config)
    first, last = rounds
    assert same_state(first.init, copy_state(net))
    assert first.mask == Mask.full(net)
    assert last is result
    for name, value in copy_state(net).items():
        moved = "running" in name or "num_batches" in name
        assert torch.equal(result.init[name], value) != moved
    weights = prunable_weights(net)
    by_magnitude = one_shot(weights)
    assert result.mask != by_magnitude
    assert {n: int(e.sum()) for n, e in result.mask.items()} == {
        n: int(e.sum()) for n, e in by_magnitude.items()
    }
    assert [(r["round"], r["step"]) for r in result.history] == [(1, 4), (1, 6), (2, 4), (2, 5)]


def one_shot(weights):
    """The mask of magnitude pruning, the same share of each layer."""
    full = Mask({name: torch.ones(w.shape, dtype=torch.bool) for name, w in weights.items()})
    return prune_by_layer(SCORES["magnitude"](weights, full), full, dict.fromkeys(weights, 0.6))


def test_before_its_first_step_it_is_one_shot_magnitude_pruning_by_layer(recipe, search_of):
    net = search_of(recipe).net()
    weights = prunable_weights(net)
    expected = one_shot(weights)
    counts = {name: int(entries.sum()) for name, entries in expected.items()}
    assert WeightScores(net, scores_by_magnitude(weights), counts, 0).mask == expected


def test_its_passes_are_those_of_both_trainings(recipe, tiny_data, search_of):
    ledger, search = Ledger("search"), search_of(recipe, method="pgd")
    search.run(ledger=ledger)
    whole = costs.training_passes(search.recipe.search, 6 + 5, 10, 4)
    assert ledger.charged_passes == costs.search_passes(search.recipe, tiny_data.spec).total == whole.total
    assert search.plan.steps == 11
    assert search.plan.validations == 4
    assert costs.search_cost(search.recipe, tiny_data.spec) == pytest.approx(whole.cost)


def test_a_search_that_was_stopped_ends_with_the_same_bits(recipe, search_of):
    search, every, rounds = search_of(recipe), EveryState(), []
    whole = search.run(session={"checkpointer": every}, save=rounds.append)
    for number, step in ((1, 2), (2, 1), (2, 4)):
        saved = next(
            state
            for state, identity in zip(every.states, every.identities, strict=True)
            if (identity["round"], state["step"]) == (number, step)
        )
        earlier = rounds[0] if number == 2 else None
        again = search.run(session={"saved": saved}, earlier=earlier)
        assert again.mask == whole.mask
        assert same_state(again.init, whole.init)
        assert [r["step"] for r in again.history] == [r["step"] for r in whole.history]
    assert search.run(earlier=rounds[0]).mask == whole.mask


@pytest.fixture
def channels(recipe):
    """The same by channels."""
    search = replace(recipe.search, granularity="channel", ratio=0.5, round_to=8)
    return replace(recipe, model=Model("resnet20", width=1.0), search=search)


def test_channels_begin_as_those_of_the_largest_filters_and_others_come_back(channels, search_of):
    search = search_of(channels)
    rounds = []
    result = search.run(save=rounds.append)
    groups = channel_groups(search.net(), SHAPE)
    live = live_channels(groups, result.mask)
    assert channel_mask(groups, live, Mask.full(search.net())) == result.mask
    assert all(0 < int(one.sum()) < len(one) for one in live if len(one) > 8)
    net = search.net()
    load_weights(net, rounds[0].init, "round")
    step = ChannelStep(net, replace(channels.search, scope="layer"), SHAPE)
    first = step.prune(SCORES["magnitude"](prunable_weights(net), Mask.full(net)), Mask.full(net))
    assert ChannelScores(net, step, 0).mask == first
    assert result.mask != first


def test_the_gradient_of_a_channel_s_score_is_that_of_a_factor_on_what_it_sends(channels, search_of):
    """Against autograd through a factor on each channel, where the readers take it."""
    net = search_of(channels).net().double().eval()
    step = ChannelStep(net, replace(channels.search, scope="layer"), SHAPE)
    scores = ChannelScores(net, step, 0)
    optimiser = scores.optimiser(Training(lr=1e-3, momentum=0, weight_decay=0))
    before = {name: value.detach().clone() for name, value in scores.state_dict().items()}
    images = torch.rand(4, *SHAPE, dtype=torch.float64)
    net(images).square().sum().backward()
    optimiser.step()
    group = next(g for g in step.groups if g.name == "layer1.0.conv1.weight")
    kept = step.remaining([before[f"score/{g.name}"].abs() for g in step.groups], all_channels(step.groups))
    factors = [one.double().requires_grad_() for one in kept]
    drawn, weights = scores.init, {}
    for g, factor in zip(step.groups, factors, strict=True):
        for part in g.readers:
            weight = weights.get(part.tensor, drawn[part.tensor])
            spread = torch.zeros(weight.shape[part.dim], dtype=torch.float64).index_put(
                (part.indices,), factor[:, None].expand(part.indices.shape)
            )
            size = [-1 if dim == part.dim else 1 for dim in range(weight.ndim)]
            weights[part.tensor] = weight * spread.view(size)
    functional_call(net, weights, (images,)).square().sum().backward()
    place = step.groups.index(group)
    moved = before[f"score/{group.name}"] - scores.state_dict()[f"score/{group.name}"]
    torch.testing.assert_close(moved / 1e-3, factors[place].grad, rtol=1e-6, atol=1e-9)
    assert float(factors[place].grad[~kept[place]].abs().max()) > 0  # pruned ones have one too
