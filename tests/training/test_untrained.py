"""Arms that are not trained: a sub-network as it is, with BatchNorm statistics of its own."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from robust_tickets.base.ledger import Ledger
from robust_tickets.comparison.estimate import estimate
from robust_tickets.data.batches import batches
from robust_tickets.models.weights import copy_state, load_weights
from robust_tickets.recipe.fields import Compare, Model
from robust_tickets.report.read import arm_result
from robust_tickets.report.timing_text import markdown
from robust_tickets.runs.files import read_json, read_jsonl
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.config import Session
from robust_tickets.training.untrained import keep_untrained

UNTRAINED = ("ticket-untrained", "shuffle-untrained")


@pytest.fixture(scope="module")
def recipe(tiny_recipe):
    """Three epochs of edge-popup on a network with BatchNorm; trainings are short."""
    search = replace(
        tiny_recipe.search,
        **{"pruning_method": "edge_popup", "method": "natural", "epochs": 30, "rounds": 1, "lr": 0.2},
    )
    train = replace(tiny_recipe.train, epochs=1, ticket_epochs=1, warmup=0.0, warmup_lr=0.0, average=0.5)
    model = Model("conv-2", width=0.5, init="signed-constant")
    compare = Compare(("dense", "ticket", *UNTRAINED))
    return replace(tiny_recipe, model=model, search=search, train=train, compare=compare)


@pytest.fixture(scope="module")
def run(recipe, compare_quickly, tmp_path_factory):
    return compare_quickly(Experiment(recipe), [0], tmp_path_factory.mktemp("runs"), report=True)


def test_the_network_is_the_ticket_without_its_pruned_weights(run):
    ticket = Ticket.load(run.search(0).ticket)
    for name in ("best", "last"):
        checkpoint = Checkpoint.load(run.arm(0, "ticket-untrained").path / f"{name}.safetensors")
        assert checkpoint.epoch == 0
        for key, value in checkpoint.state.items():
            if key in ticket.mask:
                assert torch.equal(value, ticket.init[key] * ticket.mask[key]), key


def test_a_sub_network_that_was_looked_for_is_better_than_one_at_random(run):
    found, shuffled = (arm_result(run, 0, arm).accuracy["last", "clean"] for arm in UNTRAINED)
    assert found > 0.6
    assert shuffled < 0.4


def test_its_record_its_cost_and_its_row_in_the_table(run, recipe):
    planned = estimate(Experiment(recipe), 1).rows.set_index("arm")
    for arm in UNTRAINED:
        folder = run.arm(0, arm)
        (record,) = read_jsonl(folder.metrics)
        ledger = read_json(folder.ledger)
        assert (record["epoch"], record["step"]) == (0, 0)
        assert record["passes"] == ledger["charged_passes"] == planned.passes[arm] == 0  # without BatchNorm
        assert not folder.average.exists()
        assert arm in markdown(run)
    table = pd.read_csv(run.timing_csv).set_index("arm")
    search = read_json(run.search(0).ledger)["charged_passes"]
    assert table.total_passes["ticket-untrained"] == search
    assert table.epochs["ticket-untrained"] == 0


def test_statistics_are_those_of_attacked_training_batches(tiny_recipe, tiny_data):
    model = Model("resnet20", width=0.5)
    experiment = Experiment(replace(tiny_recipe, model=model))
    net, by_hand = experiment.fresh_net(0), experiment.fresh_net(0)
    training = replace(tiny_recipe.train, method="natural", average_batches=3)
    config = replace(experiment.config(training, 0, seed=0), steps=0)
    ledger = Ledger("train")
    with ledger.measure():
        result = keep_untrained(net, None, tiny_data, config, Session(ledger))
    images = [
        images
        for images, *_ in batches(tiny_data.train, tiny_data.spec, 32, seed=0, epoch=1, channels_last=True)
    ]
    means = []
    by_hand.bn1.register_forward_hook(lambda norm, x, y: means.append(x[0].mean((0, 2, 3))))
    with torch.no_grad():
        for batch in images[:3]:
            by_hand.train()(batch)
    torch.testing.assert_close(net.bn1.running_mean, torch.stack(means).mean(0))
    assert ledger.charged_passes == 2 * 3 * 32
    plain = experiment.fresh_net(0)
    load_weights(plain, result.last, "last")
    assert copy_state(plain).keys() == result.best.keys()
