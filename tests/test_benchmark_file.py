"""`export --format adversarial-pruning-benchmark`: names, sparsities, normalisation, all channels."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from training_case import half_mask

from robust_tickets.base.errors import InputError
from robust_tickets.models.normalise import Normalise
from robust_tickets.models.registry import ModelSpec, build
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.channel_groups import channel_groups
from robust_tickets.pruning.compaction import channel_mask, live_channels
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import Masking
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Data
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.tickets.compact_net import compact_net
from robust_tickets.training import export
from robust_tickets.training.checkpoint import Checkpoint

FORM = "adversarial-pruning-benchmark"
SPEC = ModelSpec("resnet18", 1.0, (3, 32, 32), 10, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
CIFAR10 = Recipe(data=Data("cifar10"))


def save(file, state, spec=SPEC, recipe=CIFAR10, removed=0):
    table = recipes.to_table(recipe)
    Checkpoint(state, spec, table, "0" * 16, "ticket", 0, 1, 0.5, 0.5, removed=removed).save(file)


def pruned(ratio, spec=SPEC):
    net = build(spec, seed=3)
    Masking(net, half_mask(net, ratio), {}).mask_parameters()
    return net.eval()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "best.safetensors"


def names_of_resnet18():
    """The layers of kuangliu's ResNet-18, whose names the benchmark has."""
    norms, convs = ["bn1"], ["conv1"]
    for stage, block in ((s, b) for s in range(1, 5) for b in range(2)):
        place = f"layer{stage}.{block}"
        convs += [f"{place}.conv1", f"{place}.conv2"]
        norms += [f"{place}.bn1", f"{place}.bn2"]
        if stage > 1 and block == 0:
            convs.append(f"{place}.shortcut.0")
            norms.append(f"{place}.shortcut.1")
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {f"{conv}.weight" for conv in convs} | {"linear.weight", "linear.bias"}
    return names | {f"{norm}.{part}" for norm in norms for part in parts}


@pytest.mark.parametrize(("ratio", "percent"), [(0.9, 90), (0.953, 95)])
def test_a_sparse_resnet_has_the_benchmark_s_names_and_its_own_logits(ratio, percent, file):
    net = pruned(ratio)
    save(file, copy_state(net))
    content = torch.load(export.export(file, FORM).file, weights_only=True)
    assert content["state_dict"].keys() == names_of_resnet18()
    assert content["key"] == f"R18_CIFAR10_US_{percent}"
    plain = build(replace(SPEC, mean=(0.0,) * 3, std=(1.0,) * 3), seed=1).eval()
    plain.load_state_dict(content["state_dict"], strict=False)
    images = torch.rand(3, 3, 32, 32)
    normalised = Normalise(tuple(content["mean"]), tuple(content["std"]))(images)
    torch.testing.assert_close(plain(normalised), net(images), rtol=1e-4, atol=1e-5)


def test_removed_channels_come_back_as_zeros(file):
    spec = replace(SPEC, name="vgg16-3fc")
    net = build(spec, seed=3).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, -0.1, 0.3)
    groups = channel_groups(net, spec.shape)
    live = [torch.arange(len(one)) % 10 < 7 for one in live_channels(groups, Mask.full(net))]
    live = [
        one if group.filters and not group.obstacle else torch.ones_like(one)
        for one, group in zip(live, groups, strict=True)
    ]
    mask = channel_mask(groups, live, Mask.full(net))
    small = compact_net(net, mask, spec.shape)
    recipe = replace(CIFAR10, search=replace(CIFAR10.search, granularity="channel"))
    save(file, copy_state(small.net), spec, recipe, removed=small.plan.removed_channels)
    content = torch.load(export.export(file, FORM).file, weights_only=True)
    full = build(spec, seed=0)
    assert content["key"] == "V16_CIFAR10_S_50"
    assert content["state_dict"].keys() == {n for n in full.state_dict() if not n.startswith("normalise")}
    full.load_state_dict(content["state_dict"], strict=False)
    images = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(full.eval()(images), small.net.eval()(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "recipe", "ratio", "words"),
    [
        (
            replace(SPEC, width=0.5),
            CIFAR10,
            0.9,
            "resnet18 and vgg16-3fc at width 1, and this is resnet18 at",
        ),
        (replace(SPEC, name="resnet20"), CIFAR10, 0.9, "and this is resnet20"),
        (SPEC, Recipe(data=Data("cifar100")), 0.9, "cifar10 and svhn, and this was trained on cifar100"),
        (
            SPEC,
            CIFAR10,
            0.8,
            r"80\.0 % of the weights are pruned, and the benchmark has tables of 90, 95, 99 %",
        ),
    ],
)
def test_what_the_benchmark_has_not_is_refused(spec, recipe, ratio, words, file):
    save(file, copy_state(pruned(ratio, spec)), spec, recipe)
    with pytest.raises(InputError, match=words):
        export.export(file, FORM)
    assert [path.name for path in file.parent.iterdir()] == ["best.safetensors"]
