"""Ticket transforms keep what they promise of the ticket, and nothing else."""

from dataclasses import replace

import pytest
import torch
from training_case import same_state

from robust_tickets.base.errors import InputError
from robust_tickets.comparison import compare as comparison
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.arms import ARMS, arm_names
from robust_tickets.recipe.fields import Compare, Model
from robust_tickets.report.read import arm_result
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import experiment, search
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.tickets.transforms import TRANSFORMS, shuffle_by_layer, shuffle_over_net
from robust_tickets.training.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def ticket(tiny_recipe, tmp_path_factory):
    run = RunDirectory.of(tmp_path_factory.mktemp("runs"), tiny_recipe)
    return Ticket.load(search.search(Experiment(tiny_recipe), 0, run))


@pytest.fixture
def other_init(tiny_recipe):
    return experiment.other_init(Experiment(tiny_recipe), 0)


def counts(mask):
    return {name: int(entries.sum()) for name, entries in mask.items()}


def random_weights(init):
    """The weights that are drawn at random, which no other init shares."""
    return {name: w for name, w in init.items() if w.dtype.is_floating_point and w.unique().numel() > 1}


def test_a_reinitialised_ticket_shares_the_mask_and_no_weight(ticket, other_init):
    control = TRANSFORMS["reinit"](ticket, other_init, 0)
    assert control.mask == ticket.mask
    assert random_weights(control.init).keys() == random_weights(ticket.init).keys()
    for name, weight in random_weights(ticket.init).items():
        assert not (control.init[name] == weight).any(), name


@pytest.mark.parametrize("name", ["shuffle-layer", "random"])
def test_a_layer_keeps_its_count_at_other_positions(name, ticket, other_init):
    control = TRANSFORMS[name](ticket, other_init, 0)
    assert counts(control.mask) == counts(ticket.mask)
    assert control.mask != ticket.mask
    assert same_state(control.init, other_init if name == "random" else ticket.init)


def test_shuffled_over_the_network_layers_become_equally_dense(ticket, other_init):
    control = TRANSFORMS["shuffle-net"](ticket, other_init, 0)
    assert control.mask.count == ticket.mask.count
    assert same_state(control.init, ticket.init)
    assert counts(control.mask) != counts(ticket.mask)
    for name, entries in control.mask.items():
        deviation = (ticket.mask.density * (1 - ticket.mask.density) / entries.numel()) ** 0.5
        assert abs(float(entries.double().mean()) - ticket.mask.density) < 5 * deviation, name


@pytest.mark.parametrize("shuffle", [shuffle_over_net, shuffle_by_layer])
def test_positions_depend_on_the_seed_alone(shuffle, ticket):
    assert shuffle(ticket.mask, 1) == shuffle(ticket.mask, 1)
    assert shuffle(ticket.mask, 1) != shuffle(ticket.mask, 2)


@pytest.mark.parametrize("shuffle", [shuffle_over_net, shuffle_by_layer])
def test_every_position_is_equally_likely(shuffle):
    mask = Mask({"a": torch.arange(100) < 30, "b": torch.arange(200) < 60})
    share = sum(torch.cat(list(shuffle(mask, seed).values())).double() for seed in range(2000)) / 2000
    assert (share - 0.3).abs().max() < 5 * (0.3 * 0.7 / 2000) ** 0.5


def test_whole_layers_stay_whole():
    whole = torch.ones(5, dtype=torch.bool)
    mask = Mask({"whole": whole, "a": torch.arange(40) < 10, "b": torch.arange(40) < 30})
    for seed in range(20):
        shuffled = shuffle_over_net(mask, seed)
        assert bool(shuffled["whole"].all())
        assert shuffled.count == mask.count
    assert shuffle_over_net(Mask({"whole": whole}), 0) == Mask({"whole": whole})


def test_a_layer_that_would_be_empty_is_named():
    mask = Mask({"large": torch.arange(10_000) < 20, "head": torch.arange(2) < 1})
    with pytest.raises(InputError, match=r"nothing of head, which has only 2 weights: leave ticket-shuf"):
        shuffle_over_net(mask, 0)


def test_the_other_init_belongs_to_no_seed(tiny_recipe):
    experiment_ = Experiment(replace(tiny_recipe, model=Model("lenet-300-100", width=0.05)))
    for seed in (0, 1, 2**31 - 1):
        neighbour = (seed + 1) % 2**31
        inits = [experiment.other_init(experiment_, s) for s in (seed, neighbour)]
        assert not same_state(*inits)
        weights = prunable_weights(experiment_.fresh_net(seed))
        assert not any(torch.equal(inits[0][name], weight) for name, weight in weights.items())


def test_each_control_is_an_arm_that_is_charged_the_search(tiny_recipe, tmp_path):
    arms = [name for name in arm_names() if ARMS[name].network == "ticket"]
    recipe = replace(tiny_recipe, compare=Compare(("dense", *arms)))
    run = comparison.compare(Experiment(recipe), [0], tmp_path)
    results = {arm: arm_result(run, 0, arm) for arm in recipe.compare.arms}
    ticket = Ticket.load(run.search(0).ticket)
    for arm in arms:
        assert results[arm].before == results["ticket"].before is not None
        assert results[arm].about["density"] == results["ticket"].about["density"]
        assert results[arm].about["epochs"] == results["ticket"].about["epochs"]
        weights = Checkpoint.load(run.arm(0, arm).last).state
        assert Mask({name: weights[name] != 0 for name in ticket.mask}).count <= ticket.mask.count
    for name in ("timing.csv", "timing.md", "curves.svg"):
        text = (run.path / name).read_text(encoding="utf-8")
        assert all(arm in text for arm in recipe.compare.arms)
