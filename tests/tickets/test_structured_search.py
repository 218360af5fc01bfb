"""Tickets of channels, through the loop and the whole job."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from every_state import EveryState

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.comparison import compare as comparison
from robust_tickets.data.dataset import Dataset
from robust_tickets.models import flops, registry
from robust_tickets.pruning.channel_criteria import channel_scores, prune_channels
from robust_tickets.pruning.channel_groups import channel_groups
from robust_tickets.pruning.compaction import all_channels, channel_mask, live_channels
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Model
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs.files import read_json
from robust_tickets.stages.experiment import Experiment, model_spec
from robust_tickets.tickets.compact_net import compact_net
from robust_tickets.tickets.search import SearchResult, find_ticket
from robust_tickets.tickets.starting_net import starting_net
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training import export
from robust_tickets.training.checkpoint import Checkpoint, load_weights
from robust_tickets.training.config import Session, TrainingConfig
from robust_tickets.training.loop import fit
from robust_tickets.training.state import copy_state

SHAPE = (1, 8, 8)


@pytest.fixture
def channels(tiny_recipe: Recipe) -> Recipe:
    """Conv-2 with 16 feature maps a layer and 64 hidden units, cut by channels."""
    search = replace(tiny_recipe.search, granularity="channel", rounds=2, ratio=0.3)
    return replace(tiny_recipe, model=Model("conv-2", width=0.25), search=search)


def parts(what: Recipe, data: Dataset, **changes: object) -> tuple[torch.nn.Module, Recipe, TrainingConfig]:
    what = replace(what, search=replace(what.search, **changes))
    net = registry.build(model_spec(what, data.spec), seed=0)
    return net, what, Experiment(what).fit(what.search, what.search.epochs * 4, 0)


def search(what: Recipe, data: Dataset, **changes: object) -> tuple[SearchResult, Ledger]:
    net, what, how = parts(what, data, **changes)
    ledger = Ledger("search")
    with ledger.measure():
        return find_ticket(net, data, what.search, how, Session(ledger)), ledger


def test_rounds_are_train_cut_rewind_and_shrink_written_out(channels: Recipe, tiny_data: Dataset) -> None:
    found, ledger = search(channels, tiny_data)
    net, what, how = parts(channels, tiny_data)
    groups, full, init = channel_groups(net, SHAPE), Mask.full(net), copy_state(net)
    lives, mask, account, spent = all_channels(groups), full, Ledger("train"), []
    for _ in range(2):
        load_weights(net, init, "init")
        small = compact_net(net, mask, SHAPE)
        assert small.mask is None
        before = account.charged_passes
        fit(small.net, None, tiny_data, how, Session(account))
        spent.append((account.charged_passes - before, flops.forward_flops(small.net, SHAPE)))
        load_weights(net, small.plan.whole(copy_state(small.net), init), "round")
        scores = channel_scores(groups, SCORES[what.search.criterion](prunable_weights(net), mask), mask)
        left = prune_channels(scores, lives, 0.3)
        assert all(bool((new <= old).all()) for new, old in zip(left, lives, strict=True))
        lives, mask = left, channel_mask(groups, left, full)
    assert found.mask == mask
    assert all(torch.equal(found.init[name], value) for name, value in init.items())
    assert spent[1][1] < spent[0][1]  # the second round is cheaper
    assert ledger.charged_flops == account.charged_flops
    assert ledger.charged_passes == account.charged_passes == sum(passes for passes, _ in spent)


def test_what_is_fine_tuned_goes_on_from_the_trained_weights(channels: Recipe, tiny_data: Dataset) -> None:
    found, _ = search(channels, tiny_data, after="fine-tune")
    net, _, _ = parts(channels, tiny_data)
    drawn = copy_state(net)
    small = compact_net(net, found.mask, SHAPE).plan
    kept, untrained = small.small(found.init), small.small(drawn)
    assert not any(torch.equal(kept[name], untrained[name]) for name, _ in net.named_parameters())


def test_a_search_that_was_stopped_in_a_smaller_net_ends_the_same(
    channels: Recipe, tiny_data: Dataset
) -> None:
    rounds: list[SearchResult] = []
    net, what, how = parts(channels, tiny_data)
    ledger, every = Ledger("search"), EveryState()
    with ledger.measure():
        session = Session(ledger, checkpointer=every)
        whole = find_ticket(net, tiny_data, what.search, how, session, each_round=rounds.append)
    numbers = [identity["round"] for identity in every.identities]
    for place in (2, numbers.index(2) + 3):
        net, _, _ = parts(channels, tiny_data)
        again = Ledger("search")
        again.add_report(every.states[place]["ledger"])
        with again.measure():
            found = find_ticket(
                net,
                tiny_data,
                what.search,
                how,
                Session(again, saved=every.states[place]),
                earlier=rounds[0] if numbers[place] == 2 else None,
            )
        assert found.mask == whole.mask
        assert [r["train_loss"] for r in found.history] == [r["train_loss"] for r in whole.history]
        assert again.charged_flops == ledger.charged_flops


def test_snip_cuts_channels_too(channels: Recipe, tiny_data: Dataset) -> None:
    found, _ = search(channels, tiny_data, pruning_method="snip", rounds=1, ratio=0.5)
    net, _, _ = parts(channels, tiny_data)
    groups = channel_groups(net, SHAPE)
    lives = live_channels(groups, found.mask)
    assert channel_mask(groups, lives, Mask.full(net)) == found.mask
    assert sum(int((~living).sum()) for living in lives) == pytest.approx(80, abs=4)


def test_layers_can_lose_the_same_share_and_some_none(channels: Recipe, tiny_data: Dataset) -> None:
    found, _ = search(channels, tiny_data, scope="layer", rounds=1, ratio=0.5, prune_first_conv=False)
    net, _, _ = parts(channels, tiny_data)
    kept = [int(living.sum()) for living in live_channels(channel_groups(net, SHAPE), found.mask)]
    assert kept == [16, 8, 32, 32]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: Recipe):
    """A comparison with tickets of channels, and its experiment."""
    arms = ("dense", "dense-equal-cost", "ticket", "ticket-reinit", "dense-narrow-flops")
    search = replace(tiny_recipe.search, granularity="channel", rounds=2, ratio=0.3)
    what = replace(
        tiny_recipe,
        model=Model("conv-2", width=0.25),
        search=search,
        compare=replace(tiny_recipe.compare, arms=arms),
    )
    run = comparison.compare(
        Experiment(what), [0], tmp_path_factory.mktemp("runs"), Machine("cpu", SilentProgress())
    )
    return run, what


def test_the_table_says_what_the_removed_channels_bought(compared) -> None:
    run, _ = compared
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


def test_equal_cost_is_what_the_smaller_net_costs(compared) -> None:
    run, _ = compared
    table = pd.read_csv(run.path / "timing.csv").set_index("arm")
    equal, ticket = table.total_flops["dense-equal-cost"], table.total_flops["ticket"]
    epoch = table.total_flops["dense"] / table.epochs["dense"]
    assert ticket <= equal < ticket + epoch


def test_a_checkpoint_of_fewer_channels_is_used_like_any_other(compared, tmp_path) -> None:
    run, _ = compared
    file = run.arm(0, "ticket").best
    checkpoint = Checkpoint.load(file)
    net = checkpoint.net()
    assert checkpoint.removed > 0
    assert {n: p.shape for n, p in net.state_dict().items()} == {
        n: p.shape for n, p in checkpoint.state.items()
    }
    for form in ("torch", "safetensors"):
        assert export.export(file, form, tmp_path / form).file.is_file()
    broken = replace(checkpoint, removed=0)
    with pytest.raises(InputError, match="does not fit the net"):
        broken.net()


def test_a_ticket_of_channels_can_be_trained_with_its_zeros(channels: Recipe, tiny_data: Dataset) -> None:
    """And gives the same, but for rounding: in float64, as the net's."""
    found, _ = search(channels, tiny_data)
    net, what, how = parts(channels, tiny_data)
    spec = model_spec(what, tiny_data.spec)
    ticket = Ticket(spec, found.init, found.mask, recipes.to_table(what), "", 0, 0, 0)
    losses = []
    for compact in (True, False):
        begins = starting_net(net.double(), ticket, SHAPE, replace(what.compute, compact=compact))
        assert (begins.removed > 0) == compact
        fitted = fit(begins.net.double(), begins.mask, tiny_data, how, Session(Ledger("train")))
        losses.append([record["train_loss"] for record in fitted.history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_layers_keep_multiples_of_what_the_recipe_says(channels: Recipe, tiny_data: Dataset) -> None:
    found, _ = search(channels, tiny_data, round_to=16)
    groups = channel_groups(parts(channels, tiny_data)[0], SHAPE)
    widths = [int(living.sum()) for living in live_channels(groups, found.mask)]
    assert all(width % 16 == 0 for width in widths)
    # the blocks nearest to 0.3 of 160, and to 0.3 of what is left
    assert sum(widths) == 160 - 3 * 16 - 2 * 16
    with pytest.raises(InputError, match=r"one block of 32.*a smaller search.round_to"):
        search(channels, tiny_data, round_to=32, ratio=0.1)


def test_to_single_weights_multiples_say_nothing(tiny_recipe: Recipe) -> None:
    weights = replace(tiny_recipe.search, round_to=16)
    with pytest.raises(InputError, match=r"search\.round_to is for search\.granularity channel"):
        recipes.check(replace(tiny_recipe, search=weights))


ROWS = {
    "random channels": (
        {"pruning_method": "random"},
        "random channels are a narrower net.*dense-narrow-flops",
    ),
    "ratio of a kind of layer": (
        {"scope": "layer", "fc_ratio": 0.5},
        "search.fc_ratio is for single weights",
    ),
    "output": ({"prune_output": False}, "search.prune_output is for single weights"),
}


def test_a_layer_that_only_reads_channels_cannot_spare_them(channels: Recipe, tiny_data: Dataset) -> None:
    net, _, _ = parts(channels, tiny_data)
    output = list(prunable_weights(net))[-1]
    with pytest.raises(
        InputError, match=f"search.ignored_layers '{output}' spares no channels.*which is one of"
    ):
        search(channels, tiny_data, ignored_layers=output)


class Counting(torch.nn.Module):
    """What it computes between its layers is written for 16 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Conv2d(1, 16, 3, padding=1)
        self.two = torch.nn.Conv2d(16, 16, 3, padding=1)
        self.end = torch.nn.Linear(16, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        ramp = torch.arange(16.0).view(16, 1, 1).to(images)
        return self.end(self.two(self.one(images) + ramp).relu().mean((2, 3)))


def test_a_net_that_counts_its_channels_says_so_before_training(channels: Recipe, tiny_data: Dataset) -> None:
    _, what, how = parts(channels, tiny_data, rounds=1, ratio=0.5)
    ledger = Ledger("search")
    with (
        ledger.measure(),
        pytest.raises(InputError, match=r"channels of one\.weight cannot be removed.*counts on how many"),
    ):
        find_ticket(Counting(), tiny_data, what.search, how, Session(ledger))
    assert ledger.charged_passes == 0
    with_zeros = replace(how, compute=replace(how.compute, compact=False))
    with ledger.measure():
        found = find_ticket(Counting(), tiny_data, what.search, with_zeros, Session(ledger))
    assert found.mask.density < 1


def test_dead_channels_of_a_net_that_counts_them_stay_and_it_is_said(
    channels: Recipe, tiny_data: Dataset
) -> None:
    net, said = Counting(), []
    kept = dict(Mask.full(net).items())
    kept["one.weight"][:8] = False
    ticket = Ticket(
        model_spec(channels, tiny_data.spec), copy_state(net), Mask(kept), {"search": {}}, "", 0, 0, 0
    )
    start = starting_net(net, ticket, SHAPE, channels.compute, said.append)
    assert start.net is net
    assert start.mask == ticket.mask
    assert "dead channels stay: the channels of one.weight cannot be removed" in said[0]


def test_nor_is_its_ticket_found_at_the_init(channels: Recipe, tiny_data: Dataset) -> None:
    _, what, how = parts(channels, tiny_data, rounds=1, ratio=0.5, pruning_method="snip")
    ledger = Ledger("search")
    with ledger.measure(), pytest.raises(InputError, match=r"channels of one\.weight cannot be removed"):
        find_ticket(Counting(), tiny_data, what.search, how, Session(ledger))


@pytest.mark.parametrize("row", ROWS)
def test_what_makes_no_sense_of_channels_is_refused(channels: Recipe, row: str) -> None:
    fields, said = ROWS[row]
    changes = {"rounds": 1} if "pruning_method" in fields else {}
    with pytest.raises(InputError, match=said):
        recipes.check(replace(channels, search=replace(channels.search, **fields, **changes)))


@pytest.mark.parametrize("arm", ["ticket-shuffle-layer", "ticket-shuffle-net", "random"])
def test_controls_that_are_the_same_net_are_refused(channels: Recipe, arm: str) -> None:
    with pytest.raises(InputError, match=f"{arm} makes no sense with search.granularity channel"):
        recipes.check(replace(channels, compare=replace(channels.compare, arms=("dense", "ticket", arm))))


def test_a_net_that_is_too_narrow_says_so_before_training(channels: Recipe, tiny_data: Dataset) -> None:
    narrow = replace(channels, model=Model("conv-2", width=0.01))
    with pytest.raises(InputError, match=r"less than one block of 8.*model.width"):
        search(narrow, tiny_data)


def test_rounds_that_leave_nothing_to_cut_say_so_before_training(
    channels: Recipe, tiny_data: Dataset
) -> None:
    with pytest.raises(InputError, match=r"fewer search\.rounds"):
        search(channels, tiny_data, rounds=12, ratio=0.5)


def test_a_net_that_cannot_be_narrowed_is_named(channels: Recipe, tiny_data: Dataset) -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3), torch.nn.GroupNorm(4, 16), torch.nn.Flatten(), torch.nn.Linear(576, 10)
    )
    _, what, how = parts(channels, tiny_data)
    with pytest.raises(
        InputError, match=r"0\.weight cannot be pruned; 1 \(GroupNorm\).*search.ignored_layers 0\.weight"
    ):
        find_ticket(net, tiny_data, what.search, how, Session(Ledger("search")))
