"""Controls: ticket transforms, and the dense network that is as large as a ticket."""

import functools
import math
from dataclasses import replace

import pytest
import torch
from training_case import same_state

from robust_tickets.base.errors import InputError
from robust_tickets.models import flops as flop_count
from robust_tickets.models import registry
from robust_tickets.models.registry import ModelSpec
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.arms import ARMS, arm_names
from robust_tickets.recipe.fields import Compare, Model
from robust_tickets.report.read import arm_result
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import experiment, search
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.narrow_net import masked_flops, narrow_spec
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.tickets.transforms import TRANSFORMS, shuffle_by_layer, shuffle_over_net
from robust_tickets.training.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def ticket(tiny_recipe, tmp_path_factory):
    run = RunDirectory.of(tmp_path_factory.mktemp("runs"), tiny_recipe)
    return Ticket.load(search.search(Experiment(tiny_recipe), 0, run))


@pytest.fixture
def other(tiny_recipe):
    return experiment.other_net(Experiment(tiny_recipe), 0)


def counts(mask):
    return {name: int(entries.sum()) for name, entries in mask.items()}


def random_weights(init):
    """The weights that are drawn at random, which no other init shares."""
    return {name: w for name, w in init.items() if w.dtype.is_floating_point and w.unique().numel() > 1}


def test_a_reinitialised_ticket_shares_the_mask_and_no_weight(ticket, other):
    control = TRANSFORMS["reinit"](ticket, other, 0)
    assert control.mask == ticket.mask
    assert random_weights(control.init).keys() == random_weights(ticket.init).keys()
    for name, weight in random_weights(ticket.init).items():
        assert not (control.init[name] == weight).any(), name


@pytest.mark.parametrize("name", ["shuffle-layer", "random"])
def test_a_layer_keeps_its_count_at_other_positions(name, ticket, other):
    control = TRANSFORMS[name](ticket, other, 0)
    assert counts(control.mask) == counts(ticket.mask)
    assert control.mask != ticket.mask
    assert same_state(control.init, other.state_dict() if name == "random" else ticket.init)


def test_shuffled_over_the_network_layers_become_equally_dense(ticket, other):
    control = TRANSFORMS["shuffle-net"](ticket, other, 0)
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
        inits = [experiment.other_net(experiment_, s).state_dict() for s in (seed, neighbour)]
        assert not same_state(*inits)
        weights = prunable_weights(experiment_.fresh_net(seed))
        assert not any(torch.equal(inits[0][name], weight) for name, weight in weights.items())


def test_each_control_is_an_arm_that_is_charged_the_search(tiny_recipe, compare_quickly, tmp_path):
    arms = [name for name in arm_names() if ARMS[name].network == "ticket"]
    arms = [name for name in arms if ARMS[name].schedule == ARMS["ticket"].schedule]
    arms.remove("ticket-shuffle-channels")  # test_structured_search.py has it
    recipe = replace(tiny_recipe, compare=Compare(("dense", *arms)))
    run = compare_quickly(Experiment(recipe), [0], tmp_path, report=True)
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


SHAPE = (3, 32, 32)


def spec_of(name, width=1.0):
    return ModelSpec(name, width, SHAPE, 10, (0.5,) * 3, (0.2,) * 3)


@pytest.mark.parametrize("name", ["lenet-300-100", "conv-2", "resnet20", "vgg16", "wrn10-1"])
def test_all_weights_cost_what_pytorch_counts(name):
    net = registry.build(spec_of(name, 0.5), seed=0)
    assert masked_flops(net, Mask.full(net), SHAPE) == flop_count.forward_flops(net, SHAPE)


def test_a_ticket_without_some_channels_costs_what_the_narrow_network_does():
    """VGG-16 at half width whose upper half of every layer's channels, and what reads them, is gone."""
    wide, small = (registry.build(spec_of("vgg16", width), seed=0) for width in (0.5, 0.25))
    mask = {}
    for (name, weight), other in zip(
        prunable_weights(wide).items(), prunable_weights(small).values(), strict=True
    ):
        mask[name] = torch.zeros(weight.shape, dtype=torch.bool)
        mask[name][: other.shape[0], : other.shape[1]] = True
    assert masked_flops(wide, Mask(mask), SHAPE) == flop_count.forward_flops(small, SHAPE)


@functools.cache
def sizes_of(name):
    """FLOPs and weights at every width up to the half."""
    nets = (registry.build(spec_of(name, 0.5 * step / 256), seed=0) for step in range(1, 257))
    return [(flop_count.forward_flops(net, SHAPE), Mask.full(net).size) for net in nets]


@pytest.mark.parametrize("name", ["lenet-300-100", "resnet20"])
@pytest.mark.parametrize("share", [0.9, 0.2, 0.01])
def test_no_width_comes_nearer(name, share):
    spec = spec_of(name, 0.5)
    sizes = sizes_of(name)
    flops, weights = sizes[-1]

    def off(value, target):
        return abs(math.log(value / target))

    by_flops = registry.build(narrow_spec(spec, "flops", flops=round(share * flops), weights=1), seed=0)
    by_weights = registry.build(narrow_spec(spec, "weights", flops=1, weights=round(share * weights)), seed=0)
    distance = off(flop_count.forward_flops(by_flops, SHAPE), share * flops)
    assert distance <= min(off(f, share * flops) for f, _ in sizes) + 1e-6
    distance = off(Mask.full(by_weights).size, share * weights)
    assert distance <= min(off(w, share * weights) for _, w in sizes) + 1e-6


def test_narrow_arms_have_the_tickets_schedule_and_are_not_charged_its_search(
    tiny_recipe, compare_quickly, tmp_path
):
    recipe = replace(
        tiny_recipe,
        model=Model("lenet-300-100", width=0.3),
        compare=Compare(("dense", "dense-narrow-flops", "dense-narrow-weights", "ticket")),
    )
    run = compare_quickly(Experiment(recipe), [0], tmp_path)
    results = {arm: arm_result(run, 0, arm) for arm in recipe.compare.arms}
    ticket = results["ticket"].about
    for arm, key in (("dense-narrow-flops", "kept_flops"), ("dense-narrow-weights", "weights")):
        about = results[arm].about
        assert results[arm].before is None
        assert about["epochs"] == ticket["epochs"] == 2
        assert about["width"] < recipe.model.width == ticket["width"]
        assert about[key] == pytest.approx(ticket[key], rel=0.05)
        assert results[arm].ledger["charged_passes"] == results["ticket"].ledger["charged_passes"]
        ratio = about["forward_flops"] / ticket["forward_flops"]
        assert results[arm].ledger["charged_flops"] == pytest.approx(
            ratio * results["ticket"].ledger["charged_flops"]
        )
        net = Checkpoint.load(run.arm(0, arm).best).net()
        assert sum(p.numel() for p in net.parameters()) == about["params"]
