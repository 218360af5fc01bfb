"""Controls keep what they promise of the ticket, and nothing else."""

from dataclasses import replace

import pytest
import torch

from robust_tickets.base.errors import InputError
from robust_tickets.comparison import compare as comparison
from robust_tickets.pruning.mask import Mask, prunable
from robust_tickets.recipe.fields import TICKET_ARMS, Compare
from robust_tickets.report.read import arm_result
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import experiment, search
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.controls import CONTROLS, shuffle_mask, shuffle_mask_by_layer
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def ticket(tiny_recipe, tmp_path_factory):
    from robust_tickets.base.machine import Machine
    from robust_tickets.base.progress import SilentProgress

    run = RunDirectory.of(tmp_path_factory.mktemp("runs"), tiny_recipe)
    return Ticket.load(search.search(Experiment(tiny_recipe), 0, run, Machine("cpu", SilentProgress())))


@pytest.fixture
def other(tiny_recipe, machine):
    return experiment.other_init(Experiment(tiny_recipe), 0, machine)


def counts(mask):
    return {name: int(kept.sum()) for name, kept in mask.items()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def drawn(init):
    """The weights that are drawn, which no other init shares."""
    return {name: w for name, w in init.items() if w.dtype.is_floating_point and w.unique().numel() > 1}


def test_a_new_init_shares_the_mask_and_no_weight(ticket, other):
    control = CONTROLS["ticket-reinit"](ticket, other, 0)
    assert control.mask == ticket.mask
    assert drawn(control.init).keys() == drawn(ticket.init).keys()
    for name, weight in drawn(ticket.init).items():
        assert not (control.init[name] == weight).any(), name


@pytest.mark.parametrize("arm", ["ticket-shuffle-layer", "random"])
def test_a_layer_keeps_its_count_at_other_places(arm, ticket, other):
    control = CONTROLS[arm](ticket, other, 0)
    assert counts(control.mask) == counts(ticket.mask)
    assert control.mask != ticket.mask
    assert same(control.init, other if arm == "random" else ticket.init)


def test_over_the_net_the_whole_count_is_kept_and_layers_become_alike(ticket, other):
    control = CONTROLS["ticket-shuffle-net"](ticket, other, 0)
    assert control.mask.kept == ticket.mask.kept
    assert same(control.init, ticket.init)
    assert counts(control.mask) != counts(ticket.mask)
    for name, kept in control.mask.items():
        deviation = (ticket.mask.density * (1 - ticket.mask.density) / kept.numel()) ** 0.5
        assert abs(float(kept.double().mean()) - ticket.mask.density) < 5 * deviation, name


@pytest.mark.parametrize("shuffle", [shuffle_mask, shuffle_mask_by_layer])
def test_the_seed_says_which_places(shuffle, ticket):
    assert shuffle(ticket.mask, 1) == shuffle(ticket.mask, 1)
    assert shuffle(ticket.mask, 1) != shuffle(ticket.mask, 2)


@pytest.mark.parametrize("shuffle", [shuffle_mask, shuffle_mask_by_layer])
def test_every_place_is_as_likely(shuffle):
    mask = Mask({"a": torch.arange(100) < 30, "b": torch.arange(200) < 60})
    kept = sum(torch.cat(list(shuffle(mask, seed).values())).double() for seed in range(2000)) / 2000
    assert (kept - 0.3).abs().max() < 5 * (0.3 * 0.7 / 2000) ** 0.5


def test_layers_that_were_kept_whole_stay_whole():
    mask = Mask(
        {"whole": torch.ones(5, dtype=torch.bool), "a": torch.arange(40) < 10, "b": torch.arange(40) < 30}
    )
    for seed in range(20):
        control = shuffle_mask(mask, seed)
        assert bool(control["whole"].all())
        assert control.kept == mask.kept
    assert shuffle_mask(Mask({"whole": mask["whole"]}), 0) == Mask({"whole": mask["whole"]})


def test_a_layer_that_would_be_empty_is_named():
    mask = Mask({"large": torch.arange(10_000) < 20, "head": torch.arange(2) < 1})
    with pytest.raises(
        InputError, match=r"leaves nothing of head, which has only 2 weights: leave ticket-shuf"
    ):
        shuffle_mask(mask, 0)


def test_the_new_init_is_no_init_of_any_seed(tiny_recipe, machine):
    what = Experiment(tiny_recipe)
    for seed in (0, 1, 2**31 - 1):
        inits = [
            experiment.other_init(what, seed, machine),
            experiment.other_init(what, (seed + 1) % 2**31, machine),
        ]
        assert not same(*inits)
        weights = {name: w.detach() for name, w in prunable(what.fresh_net(seed, machine)).items()}
        assert not any(torch.equal(inits[0][name], weight) for name, weight in weights.items())


def test_each_control_is_an_arm_that_is_charged_the_search(tiny_recipe, machine, tmp_path):
    recipe = replace(tiny_recipe, compare=Compare(("dense", *TICKET_ARMS)))
    run = comparison.compare(Experiment(recipe), [0], tmp_path, machine)
    found = {arm: arm_result(run, 0, arm) for arm in recipe.compare.arms}
    for arm in CONTROLS:
        assert found[arm].before == found["ticket"].before is not None
        assert found[arm].about["density"] == found["ticket"].about["density"]
        assert found[arm].about["epochs"] == found["ticket"].about["epochs"]
        weights = Checkpoint.load(run.arm(0, arm).last).state
        ticket = Ticket.load(run.search(0).ticket)
        alive = Mask({name: weights[name] != 0 for name in ticket.mask})
        assert alive.kept <= ticket.mask.kept
    for name in ("timing.csv", "timing.md", "curves.svg"):
        text = (run.path / name).read_text(encoding="utf-8")
        assert all(arm in text for arm in recipe.compare.arms)
