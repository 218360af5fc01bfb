"""The search for structured (channel) tickets: rounds train ever smaller networks."""

from dataclasses import replace

import pytest
import torch
from training_case import EveryState, train

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.models import flops
from robust_tickets.models.weights import copy_state, load_weights
from robust_tickets.pruning.channel_criteria import channel_scores, prune_channels
from robust_tickets.pruning.channel_groups import channel_groups
from robust_tickets.pruning.compaction import all_channels, channel_mask, live_channels
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Model
from robust_tickets.tickets.compact_net import compact_net
from robust_tickets.tickets.methods.base import SearchResult

SHAPE = (1, 8, 8)


def widths(net: torch.nn.Module, mask: Mask) -> list[int]:
    """The live channels of each group."""
    return [int(live.sum()) for live in live_channels(channel_groups(net, SHAPE), mask)]


def test_rounds_are_training_pruning_and_compaction_written_out(channel_recipe, tiny_data, search_of) -> None:
    ledger, search = Ledger("search"), search_of(channel_recipe)
    result, net = search.run(ledger=ledger), search.net()
    groups, full, init = channel_groups(net, SHAPE), Mask.full(net), copy_state(net)
    live, mask, passes, total_flops, costs = all_channels(groups), full, 0, 0, []
    for _ in range(2):
        load_weights(net, init, "init")
        small = compact_net(net, mask, SHAPE)
        assert small.mask is None
        _, account = train(small.net, None, tiny_data, search.config)
        passes, total_flops = passes + account.charged_passes, total_flops + account.charged_flops
        costs.append(flops.forward_flops(small.net, SHAPE))
        load_weights(net, small.plan.widen(copy_state(small.net), init), "round")
        weight_scores = SCORES[channel_recipe.search.criterion](prunable_weights(net), mask)
        left = prune_channels(channel_scores(groups, weight_scores, mask), live, 0.3)
        assert all(bool((new <= old).all()) for new, old in zip(left, live, strict=True))
        live, mask = left, channel_mask(groups, left, full)
    assert result.mask == mask
    assert all(torch.equal(result.init[name], value) for name, value in init.items())
    assert costs[1] < costs[0]
    assert (ledger.charged_passes, ledger.charged_flops) == (passes, total_flops)


def test_a_fine_tuned_ticket_starts_from_the_trained_weights(channel_recipe, search_of) -> None:
    search = search_of(channel_recipe, after="fine-tune")
    result, net = search.run(), search.net()
    plan = compact_net(net, result.mask, SHAPE).plan
    init, untrained = plan.narrow(result.init), plan.narrow(copy_state(net))
    assert not any(torch.equal(init[name], untrained[name]) for name, _ in net.named_parameters())


def test_a_search_that_was_stopped_in_a_smaller_network_ends_the_same(channel_recipe, search_of) -> None:
    results: list[SearchResult] = []
    search, ledger, every = search_of(channel_recipe), Ledger("search"), EveryState()
    whole = search.run(ledger=ledger, session={"checkpointer": every}, save=results.append)
    numbers = [identity["round"] for identity in every.identities]
    for i in (2, numbers.index(2) + 3):
        again = Ledger("search")
        again.add_report(every.states[i]["ledger"])
        earlier = results[0] if numbers[i] == 2 else None
        result = search.run(ledger=again, session={"saved": every.states[i]}, earlier=earlier)
        assert result.mask == whole.mask
        assert [r["train_loss"] for r in result.history] == [r["train_loss"] for r in whole.history]
        assert again.charged_flops == ledger.charged_flops


def test_snip_prunes_channels_too(channel_recipe, search_of) -> None:
    search = search_of(channel_recipe, pruning_method="snip", rounds=1, ratio=0.5)
    mask, groups = search.run().mask, channel_groups(search.net(), SHAPE)
    live = live_channels(groups, mask)
    assert channel_mask(groups, live, Mask.full(search.net())) == mask
    assert sum(int((~one).sum()) for one in live) == pytest.approx(80, abs=4)


def test_layers_can_lose_the_same_share_and_some_none(channel_recipe, search_of) -> None:
    search = search_of(channel_recipe, scope="layer", rounds=1, ratio=0.5, prune_first_conv=False)
    assert widths(search.net(), search.run().mask) == [16, 8, 32, 32]


def test_layers_keep_multiples_of_round_to(channel_recipe, search_of) -> None:
    search = search_of(channel_recipe, round_to=16)
    left = widths(search.net(), search.run().mask)
    assert all(width % 16 == 0 for width in left)
    # the blocks nearest to 0.3 of 160, and to 0.3 of what is left
    assert sum(left) == 160 - 3 * 16 - 2 * 16
    with pytest.raises(InputError, match=r"one block of 32.*a smaller search.round_to"):
        search_of(channel_recipe, round_to=32, ratio=0.1).run()


@pytest.mark.parametrize("method", ["imp", "snip"])
def test_a_network_that_needs_all_channels_is_refused_before_training(
    channel_recipe, search_of, fixed_width, method
) -> None:
    search = search_of(channel_recipe, rounds=1, ratio=0.5, pruning_method=method)
    ledger = Ledger("search")
    with pytest.raises(
        InputError, match=r"channels of one\.weight cannot be removed.*relies on their number"
    ):
        search.run(fixed_width(), ledger)
    assert ledger.passes["update"].total == 0
    with_zeros = replace(channel_recipe, compute=replace(channel_recipe.compute, compact=False))
    search = search_of(with_zeros, rounds=1, ratio=0.5, pruning_method=method)
    assert search.run(fixed_width()).mask.density < 1


@pytest.mark.parametrize(
    ("width", "fields", "words"),
    [
        (0.01, {}, r"less than one block of 8.*model.width"),
        (0.25, {"rounds": 12, "ratio": 0.5}, r"fewer search\.rounds"),
        (
            0.25,
            {"ignored_layers": "fc3.weight"},
            "'fc3.weight' names no layer that makes channels.*one of features",
        ),
    ],
)
def test_a_search_that_must_fail_is_refused_before_training(
    channel_recipe, search_of, width, fields, words
) -> None:
    ledger = Ledger("search")
    with pytest.raises(InputError, match=words):
        search_of(replace(channel_recipe, model=Model("conv-2", width=width)), **fields).run(ledger=ledger)
    assert ledger.charged_passes == 0


def test_a_layer_that_cannot_be_narrowed_is_named(channel_recipe, search_of) -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3), torch.nn.GroupNorm(4, 16), torch.nn.Flatten(), torch.nn.Linear(576, 10)
    )
    with pytest.raises(
        InputError, match=r"0\.weight cannot be pruned; 1 \(GroupNorm\).*search.ignored_layers 0\.weight"
    ):
        search_of(channel_recipe).run(net)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scope": "layer", "fc_ratio": 0.5}, "search.fc_ratio is for single weights"),
        ({"prune_output": False}, "search.prune_output is for single weights"),
        ({"granularity": "weight", "round_to": 16}, r"search\.round_to is for search\.granularity channel"),
    ],
)
def test_fields_of_the_other_granularity_are_refused(channel_recipe, fields, words) -> None:
    with pytest.raises(InputError, match=words):
        recipes.check(replace(channel_recipe, search=replace(channel_recipe.search, **fields)))
