"""Structured (channel) tickets in a comparison: what the missing channels save, and their checkpoints."""

from dataclasses import replace

import pandas as pd
import pytest
from training_case import train

from robust_tickets.base.errors import InputError
from robust_tickets.comparison import compare as comparison
from robust_tickets.models import flops, registry
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.fields import Compare
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.compact_net import compact_net
from robust_tickets.tickets.starting_net import starting_net
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training import export
from robust_tickets.training.checkpoint import Checkpoint

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def recipe(channel_recipe: Recipe) -> Recipe:
    """A recipe for channels with the arms that such a ticket changes."""
    arms = ("dense", "dense-equal-cost", "ticket", "ticket-reinit", "dense-narrow-flops")
    return replace(channel_recipe, compare=Compare(arms))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> RunDirectory:
    """The run directory of a comparison."""
    folder = tmp_path_factory.mktemp("runs")
    return comparison.compare(Experiment(recipe), [0], folder)


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


def test_equal_cost_is_the_cost_of_the_smaller_network(run) -> None:
    table = pd.read_csv(run.path / "timing.csv").set_index("arm")
    equal, ticket = table.total_flops["dense-equal-cost"], table.total_flops["ticket"]
    epoch = table.total_flops["dense"] / table.epochs["dense"]
    assert ticket <= equal < ticket + epoch


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
