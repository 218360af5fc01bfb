"""Structured (channel) tickets: rounds train ever smaller networks, and what that saves in a comparison."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from training_case import EveryState, train

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.models import flops, registry
from robust_tickets.models.weights import copy_state, load_weights
from robust_tickets.pruning.channel_criteria import channel_scores, prune_channels
from robust_tickets.pruning.channel_groups import channel_groups
from robust_tickets.pruning.compaction import all_channels, channel_mask, live_channels
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.arm_settings import ArmSettings
from robust_tickets.recipe.fields import Compare, Model
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.notes import channels_note
from robust_tickets.report.tables import timing
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.compact_net import compact_net
from robust_tickets.tickets.methods.base import SearchResult
from robust_tickets.tickets.starting_net import starting_net
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.tickets.transforms import shuffle_channels
from robust_tickets.training import export
from robust_tickets.training.checkpoint import Checkpoint

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
    search = search_of(channel_recipe, after="lr-rewind")
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


@pytest.fixture(scope="module")
def recipe(channel_recipe: Recipe) -> Recipe:
    """A recipe for channels with the arms that such a ticket changes."""
    arms = ("dense", "dense-equal-cost", "ticket", "ticket-reinit", "reinit-equal-cost", "dense-narrow-flops")
    return replace(channel_recipe, compare=Compare(arms))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe, compare_quickly) -> RunDirectory:
    """The run directory of a comparison."""
    folder = tmp_path_factory.mktemp("runs")
    return compare_quickly(Experiment(recipe), [0], folder, report=True)


def test_the_table_has_what_the_removed_channels_save(run) -> None:
    table = pd.read_csv(run.path / "timing.csv").set_index("arm")
    ticket = Ticket.load(run.search(0).ticket)
    removed = read_json(run.arm(0, "ticket").record)["channels_removed"]
    assert table.channels_removed["ticket"] == removed > 0
    assert table.channels_removed["dense"] == 0
    assert table.density["ticket"] == pytest.approx(ticket.mask.density)
    net = registry.build(ticket.model, seed=0)
    small = compact_net(net, ticket.mask, SHAPE)
    share = flops.forward_flops(small.net, SHAPE) / flops.forward_flops(net, SHAPE)
    assert table.pass_flops_vs_dense["ticket"] == pytest.approx(share, abs=1e-5)
    assert table.pass_flops_vs_dense["ticket-reinit"] == pytest.approx(share, abs=1e-5)
    assert table.params["ticket"] == sum(p.numel() for p in small.net.parameters())
    text = (run.path / "timing.md").read_text(encoding="utf-8")
    assert read_json(run.arm(0, "ticket").ledger)["seconds"]["prune"] > 0
    assert f"left out in training: `ticket` {removed} (a pass takes {share:.2f} of the FLOPs" in text


def test_seconds_of_a_pass_are_not_compared_with_those_of_another_method(run) -> None:
    alike = timing(run).assign(disturbed=False)
    assert "of the seconds" in channels_note(run, alike)
    other = replace(run.recipe, arms=ArmSettings({"ticket": {"method": "natural"}}))
    table = timing(RunDirectory(run.path, other)).assign(disturbed=False).set_index("arm")
    assert math.isnan(table.pass_seconds_vs_dense["ticket"])
    assert table.pass_flops_vs_dense["ticket"] == alike.set_index("arm").pass_flops_vs_dense["ticket"]
    assert table.pass_seconds_vs_dense["ticket-reinit"] > 0
    note = channels_note(run, table.loc[["dense", "ticket"]].reset_index())
    assert "of the FLOPs of dense's)" in note


def test_equal_cost_is_the_cost_of_the_smaller_network(run) -> None:
    table = pd.read_csv(run.path / "timing.csv").set_index("arm")
    equal, ticket = table.total_flops["dense-equal-cost"], table.total_flops["ticket"]
    epoch = table.total_flops["dense"] / table.epochs["dense"]
    assert ticket <= equal < ticket + epoch


def test_its_widths_without_a_search_train_for_as_many_flops_and_longer(run) -> None:
    table = pd.read_csv(run.path / "timing.csv").set_index("arm")
    own, ticket = table.loc["reinit-equal-cost"], table.loc["ticket"]
    assert (own.params, own.search_s) == (ticket.params, 0)
    epoch = own.total_flops / own.epochs
    assert ticket.total_flops <= own.total_flops < ticket.total_flops + epoch
    assert epoch < table.total_flops["dense"] / table.epochs["dense"]
    assert own.epochs > table.epochs["dense-equal-cost"]


def test_other_channels_are_as_many_of_the_same_weights(run) -> None:
    ticket = Ticket.load(run.search(0).ticket)
    net = registry.build(ticket.model, seed=9)
    others = [shuffle_channels(ticket, net, seed) for seed in (1, 1, 2)]
    assert others[0].mask == others[1].mask != others[2].mask
    for other in others:
        assert other.mask != ticket.mask
        assert widths(net, other.mask) == widths(net, ticket.mask)
        assert all(torch.equal(other.init[name], value) for name, value in ticket.init.items())
        shapes = [
            [p.shape for p in compact_net(net, each.mask, SHAPE).net.parameters()] for each in (ticket, other)
        ]
        assert shapes[0] == shapes[1]


def test_other_channels_are_an_arm_that_is_charged_the_search(
    channel_recipe, compare_quickly, tmp_path
) -> None:
    search = replace(channel_recipe.search, after="lr-rewind")
    arms = ("dense", "ticket", "ticket-shuffle-channels")
    recipe = replace(channel_recipe, search=search, compare=Compare(arms))
    run = compare_quickly(Experiment(recipe), [0], tmp_path, report=True)
    table = pd.read_csv(run.path / "timing.csv").set_index("arm")
    same = ["params", "epochs", "search_s", "total_flops", "channels_removed"]
    assert table.loc["ticket", same].equals(table.loc["ticket-shuffle-channels", same])
    ours, others = (Checkpoint.load(run.arm(0, arm).last).state for arm in arms[1:])
    assert not any(torch.equal(value, others[name]) for name, value in ours.items() if value.ndim == 4)


def test_all_channels_are_equally_likely(run) -> None:
    ticket = Ticket.load(run.search(0).ticket)
    net = registry.build(ticket.model, seed=9)
    groups = channel_groups(net, SHAPE)
    kept = live_channels(groups, ticket.mask)
    n = 300
    counts = [torch.zeros(group.channels) for group in groups]
    for seed in range(n):
        for count, live in zip(
            counts, live_channels(groups, shuffle_channels(ticket, net, seed).mask), strict=True
        ):
            count += live
    for count, live in zip(counts, kept, strict=True):
        share = float(live.double().mean())
        assert ((count / n - share).abs() <= 5 * (share * (1 - share) / n) ** 0.5).all()


def test_single_weights_are_no_channels(run) -> None:
    ticket = Ticket.load(run.search(0).ticket)
    net = registry.build(ticket.model, seed=9)
    name = next(name for name, entries in ticket.mask.items() if bool(entries.any()))
    entries = ticket.mask[name].clone()
    entries.flatten()[entries.flatten().nonzero()[0]] = False
    with pytest.raises(InputError, match="prunes single weights, not whole channels"):
        shuffle_channels(replace(ticket, mask=ticket.mask.with_entries([name], entries.flatten())), net, 0)


def test_a_checkpoint_of_fewer_channels_is_used_like_any_other(run, tmp_path) -> None:
    file = run.arm(0, "ticket").best
    checkpoint = Checkpoint.load(file)
    net = checkpoint.net()
    assert checkpoint.removed > 0
    shapes = {name: value.shape for name, value in net.state_dict().items()}
    assert shapes == {name: value.shape for name, value in checkpoint.state.items()}
    for form in ("torch", "safetensors"):
        assert export.export(file, form, tmp_path / form).file.is_file()
    with pytest.raises(InputError, match="does not fit the net"):
        replace(checkpoint, removed=0).net()


def test_a_ticket_trained_with_its_zeros_is_the_same_in_float64(run, recipe, tiny_data) -> None:
    ticket, experiment = Ticket.load(run.search(0).ticket), Experiment(recipe)
    losses = []
    for compact in (True, False):
        net = registry.build(ticket.model, seed=0).double()
        start = starting_net(net, ticket, SHAPE, replace(recipe.compute, compact=compact))
        assert (start.removed_channels > 0) == compact
        config = experiment.config(recipe.search, recipe.search.epochs * 4, 0)
        result, _ = train(start.net.double(), start.mask, tiny_data, config)
        losses.append([record["train_loss"] for record in result.history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_dead_channels_that_cannot_be_removed_stay_and_a_line_says_so(run, recipe, fixed_width) -> None:
    net, lines = fixed_width(), []
    mask = Mask.full(net)
    mask["one.weight"][:8] = False
    ticket = Ticket.load(run.search(0).ticket)
    ticket = replace(ticket, init=copy_state(net), mask=mask, search={"search": {}})
    start = starting_net(net, ticket, SHAPE, recipe.compute, lines.append)
    assert start.net is net
    assert start.mask == ticket.mask
    assert "dead channels stay: the channels of one.weight cannot be removed" in lines[0]
    structured = replace(ticket, search={"search": {"granularity": "channel"}})
    with pytest.raises(InputError, match=r"one\.weight cannot be removed"):
        starting_net(net, structured, SHAPE, recipe.compute, lines.append)
