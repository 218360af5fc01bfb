"""Linear mode connectivity: the line's ends are the trainings, and its statistics are those of its images."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from training_case import same_state

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.cli.main import main
from robust_tickets.comparison.compare import search
from robust_tickets.comparison.stability import measure_stability
from robust_tickets.data.batches import steps_per_epoch
from robust_tickets.models.norm_statistics import moving_batchnorms
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.budget import Budget
from robust_tickets.recipe.fields import Model
from robust_tickets.stages.connectivity import instability, interpolate, line_errors
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.statistics import estimate_statistics
from robust_tickets.training.training_batches import training_batches


def test_the_ends_of_a_line_are_both_states_and_zeros_stay_zero():
    one = {"w": torch.tensor([0.1, 0.0, -3.0]), "steps": torch.tensor(7)}
    other = {"w": torch.tensor([0.7, 0.0, 1e-20]), "steps": torch.tensor(9)}
    assert same_state(interpolate(one, other, 0.0), one)
    assert torch.equal(interpolate(one, other, 1.0)["w"], other["w"])
    for place in (0.1, 0.5, 0.9):
        between = interpolate(one, other, place)
        assert between["w"][1] == 0
        torch.testing.assert_close(between["w"], (1 - place) * one["w"] + place * other["w"])
        assert between["steps"] == 7
    with pytest.raises(InputError, match="of different networks: train both from one start"):
        interpolate(one, {"w": torch.zeros(4), "steps": torch.tensor(9)}, 0.5)
    with pytest.raises(InputError, match="of different networks"):
        interpolate(one, other | {"more": torch.zeros(1)}, 0.5)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [([0.2, 0.2, 0.2], 0), ([0.2, 0.5, 0.3], 0.25), ([0.4, 0.3, 0.2], 0.1), ([0.3, 0.1, 0.3], 0)],
)
def test_the_instability_is_the_highest_error_above_the_mean_of_both_ends(errors, expected):
    assert instability(pd.Series(errors)) == pytest.approx(expected)


@pytest.fixture
def resnet(tiny_recipe):
    """The tiny recipe with BatchNorms, one round and one epoch."""
    return replace(
        tiny_recipe,
        model=Model("resnet14", width=0.125),
        search=replace(tiny_recipe.search, rounds=1, epochs=1),
        train=replace(tiny_recipe.train, epochs=1, ticket_epochs=1, warmup=0.0, warmup_lr=0.0),
    )


def test_statistics_are_the_means_over_attacked_training_batches(resnet):
    """Of the first BatchNorm, whose inputs need no other statistics, by hand over natural batches."""
    experiment = Experiment(replace(resnet, train=replace(resnet.train, method="natural")))
    net, data = experiment.fresh_net(0), experiment.load()
    config = experiment.config(experiment.recipe.train, 3, seed=4)
    ledger = Ledger("train")
    with ledger.measure():
        estimate_statistics(net, data, config, 3, ledger)
    assert ledger.charged_passes == 2 * 3 * 32  # as they are, and attacked; which natural training does not
    assert steps_per_epoch(len(data.train), 32) >= 3
    batches = [batch.images for batch, _ in zip(training_batches(data, config, 1, 0), range(3), strict=False)]
    first = moving_batchnorms(net)[0]
    with torch.no_grad():
        inputs = [net.conv1(net.normalise(images)) for images in batches]
    means = torch.stack([each.mean((0, 2, 3)) for each in inputs])
    torch.testing.assert_close(first.running_mean, means.mean(0))
    attacked = Experiment(resnet).fresh_net(0)
    config = Experiment(resnet).config(resnet.train, 3, 4)
    ledger = Ledger("train")
    with ledger.measure():
        estimate_statistics(attacked, data, config, 3, ledger)
    steps = resnet.train.pgd.steps
    assert ledger.charged_passes == (2 + 2 * steps) * 3 * 32
    assert not torch.equal(attacked.bn1.running_mean, first.running_mean)
    assert all(norm.momentum == 0.1 for norm in moving_batchnorms(net))


def test_a_line_from_a_training_to_itself_is_flat_and_another_seed_is_another_end(resnet, tmp_path):
    experiment = Experiment(resnet)
    ticket = search(experiment, 0, tmp_path)
    result = measure_stability(experiment, 0, tmp_path, ticket, points=3, batches=2)
    table = pd.read_csv(result.table)
    assert list(table) == ["place", "clean_error", "robust_error"]
    assert list(table.place) == [0, 0.5, 1]
    assert table.clean_error.between(0, 1).all()
    assert (table.robust_error >= table.clean_error).all()
    assert "instability" in result.text
    assert result.figure.read_text(encoding="utf-8").startswith("<?xml")
    one, other = (
        Checkpoint.load(next(tmp_path.glob(f"tiny-*/seed-{seed}/ticket*/last.safetensors")))
        for seed in (0, 1)
    )
    assert not same_state(one.state, other.state)
    mask = Ticket.load(ticket).mask
    assert all(
        not state[name][~entries].any()
        for state in (one.state, other.state)
        for name, entries in mask.items()
    )
    flat = line_errors(experiment, (one, one), resnet.train, points=3, batches=2)
    assert flat.clean_error.nunique() == flat.robust_error.nunique() == 1


def test_the_command_measures_a_ticket_and_trains_nothing_twice(tiny_recipe, tmp_path, capsys):
    recipe = replace(tiny_recipe, train=replace(tiny_recipe.train, epochs=1, ticket_epochs=1))
    file = tmp_path / "tiny.toml"
    file.write_text(recipes.to_toml(recipe), encoding="utf-8")
    ticket = search(Experiment(recipe), 0, tmp_path)
    words = [
        "ticket",
        "stability",
        str(ticket),
        "--recipe",
        str(file),
        "--runs",
        str(tmp_path),
        "--points",
        "3",
    ]
    main(words)
    printed = capsys.readouterr().out
    assert "points, " in printed
    main(words)
    again = capsys.readouterr()
    assert again.out == printed
    assert again.err.count("already done") == 2


def test_a_budget_in_time_is_refused(resnet, tmp_path, machine):
    recipe = replace(resnet, train=replace(resnet.train, epochs=0, ticket_epochs=0, budget=Budget("5s")))
    experiment = Experiment(recipe, machine=machine)
    with pytest.raises(InputError, match="a budget in time gives the two trainings different lengths"):
        measure_stability(experiment, 0, tmp_path, tmp_path / "ticket.safetensors")
    assert not list(tmp_path.iterdir())
