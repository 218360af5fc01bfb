"""FLOPs of a ticket if zeros cost nothing, and the dense network that is as large."""

import functools
import math
from dataclasses import replace

import pytest
import torch

from robust_tickets.comparison import compare as comparison
from robust_tickets.models import flops as flop_count
from robust_tickets.models import registry
from robust_tickets.models.registry import ModelSpec
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.fields import Compare, Model
from robust_tickets.report.read import arm_result
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.narrow_net import masked_flops, narrow_spec
from robust_tickets.training.checkpoint import Checkpoint

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


def test_narrow_arms_have_the_tickets_schedule_and_are_not_charged_its_search(tiny_recipe, tmp_path):
    recipe = replace(
        tiny_recipe,
        model=Model("lenet-300-100", width=0.3),
        compare=Compare(("dense", "dense-narrow-flops", "dense-narrow-weights", "ticket")),
    )
    run = comparison.compare(Experiment(recipe), [0], tmp_path)
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
