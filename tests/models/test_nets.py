"""Every network of the registry: sizes, names of layers, images and widths."""

import dataclasses

import pytest
import torch
from narrow_nets import FULL, SMALLEST, small
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.init import INITS
from robust_tickets.models.registry import NAMES, ModelSpec, build, scale_channels


@pytest.fixture(params=SMALLEST)
def name(request) -> str:
    return request.param


def test_every_network_of_the_registry_is_tested_here():
    assert set(NAMES) == {name for name in SMALLEST if not name.startswith("wrn")}


# name -> parameters, weights of convolutions, weights of all layers; for CIFAR-10, at width 1
SIZES = {
    "lenet-300-100": (953_010, 0, 952_600),
    "conv-2": (4_301_642, 38_592, 4_300_992),  # Frankle & Carbin: 38K, 4.3M
    "conv-4": (2_425_930, 259_776, 2_425_024),  # 260K, 2.4M
    # 1.1M, "1.7M": their table's layers (4 x 4 x 256 inputs of the first linear layer) sum to 2.26M
    "conv-6": (2_262_602, 1_144_512, 2_261_184),
    "vgg11": (9_228_362, 9_217_728, 9_222_848),
    "vgg13": (9_413_066, 9_402_048, 9_407_168),
    "vgg16": (14_724_042, 14_710_464, 14_715_584),
    "vgg16-fc": (14_987_722, 14_710_464, 14_977_728),  # Li et al. 2020
    "vgg16-3fc": (15_311_818, 14_710_464, 15_302_848),
    "vgg19": (20_035_018, 20_018_880, 20_024_000),  # Frankle & Carbin: 20.0M
    "resnet14": (175_258, 173_488, 174_128),
    "resnet20": (272_474, 270_256, 270_896),
    "resnet32": (466_906, 463_792, 464_432),
    "resnet44": (661_338, 657_328, 657_968),
    "resnet56": (855_770, 850_864, 851_504),
    "resnet18": (11_173_962, 11_159_232, 11_164_352),
    "preact-resnet18": (11_172_170, 11_159_232, 11_164_352),
    "wrn28-10": (36_479_194, 36_454_832, 36_461_232),
    "wrn34-10": (46_160_474, 46_131_632, 46_138_032),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_equal_the_published_ones(name):
    with torch.device("meta"):
        net = build(dataclasses.replace(FULL, name=name), seed=0)
    convolutions = sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d))
    linears = sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Linear))
    assert (sum(p.numel() for p in net.parameters()), convolutions, convolutions + linears) == SIZES[name]


def test_lenet_has_the_paper_s_266_200_weights_on_mnist():
    net = build(ModelSpec("lenet-300-100", 1.0, (1, 28, 28), 10, (0.1307,), (0.3081,)), seed=0)
    assert sum(layer.weight.numel() for layer in net.modules() if isinstance(layer, nn.Linear)) == 266_200


def test_resnet20_has_274_042_values_with_its_running_statistics():
    net = build(FULL, seed=0)
    statistics = [b for name, b in net.named_buffers() if "running_" in name]
    assert sum(t.numel() for t in [*net.parameters(), *statistics]) == 274_042  # "274K" in Frankle & Carbin


RESNET_BLOCKS = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
WRN_BLOCKS = [f"block{stage}.layer.{block}" for stage in (1, 2, 3) for block in (0, 1)]
CHECKPOINTS = {  # layers outside of blocks, blocks, layers of a shortcut, blocks that have one
    "resnet18": ("conv1 bn1 linear", RESNET_BLOCKS, "shortcut.0 shortcut.1", RESNET_BLOCKS[2::2]),
    "preact-resnet18": ("conv1 bn linear", RESNET_BLOCKS, "shortcut.0", RESNET_BLOCKS[2::2]),
    "wrn16-4": ("conv1 bn1 fc", WRN_BLOCKS, "convShortcut", WRN_BLOCKS[::2]),
    "wrn10-1": ("conv1 bn1 fc", WRN_BLOCKS[::2], "convShortcut", WRN_BLOCKS[2::2]),
}
TENSORS = {
    nn.Conv2d: ("weight",),
    nn.Linear: ("weight", "bias"),
    nn.BatchNorm2d: ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_layers_have_the_names_of_public_checkpoints(name):
    outside, blocks, shortcut, projected = CHECKPOINTS[name]
    public = {f"{block}.{layer}" for block in blocks for layer in ("bn1", "conv1", "bn2", "conv2")}
    public |= {f"{block}.{layer}" for block in projected for layer in shortcut.split()}
    with torch.device("meta"):
        net = build(dataclasses.replace(FULL, name=name), seed=0)
    layers = {n: type(m) for n, m in net.named_modules() if list(m.parameters(recurse=False))}
    assert layers.keys() == public | set(outside.split())
    tensors = {f"{layer}.{tensor}" for layer, kind in layers.items() for tensor in TENSORS[kind]}
    assert set(net.state_dict()) == tensors | {"normalise.mean", "normalise.std"}


@pytest.mark.parametrize(("depth", "factor"), [(10, 1), (16, 2), (22, 1), (28, 3), (40, 2)])
def test_a_wide_resnet_has_its_depth_and_widths(depth, factor):
    with torch.device("meta"):
        net = build(dataclasses.replace(FULL, name=f"wrn{depth}-{factor}"), seed=0)
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(layers) == depth - 3  # the paper counts the projections of the three stages
    per_stage = (depth - 4) // 3
    widths = [w * factor for w in (16, 32, 64) for _ in range(per_stage)]
    assert [m.out_channels for m in layers] == [16, *widths]


def test_logits_of_the_smallest_and_of_larger_images(name):
    for shape in ((1, SMALLEST[name], SMALLEST[name]), (3, SMALLEST[name] + 3, SMALLEST[name])):
        spec = dataclasses.replace(small(name), shape=shape, mean=(0.5,) * shape[0], std=(0.2,) * shape[0])
        net = build(spec, seed=0).train()
        assert net(torch.rand(3, *shape)).shape == (3, 5)
        assert net.eval()(torch.rand(2, *shape)).isfinite().all()
        assert next(iter(dict(net.named_children()))) == "normalise"


def test_smaller_images_are_refused(name):
    if SMALLEST[name] > 1:
        with pytest.raises(InputError, match=rf"{name} needs images of at least {SMALLEST[name]} x"):
            build(small(name, SMALLEST[name] - 1), seed=0)


@pytest.mark.parametrize("width", [0.01, 0.3, 1.1])
@pytest.mark.parametrize("name", [name for name in SMALLEST if name != "lenet-300-100"])
def test_hidden_widths_are_the_nearest_multiples_of_8(name, width):
    with torch.device("meta"):
        full, net = (
            build(dataclasses.replace(FULL, name=name, width=w, shape=(3, 64, 64)), seed=0)
            for w in (1, width)
        )
    scaled, hidden = dict(net.named_modules()), 0
    for layer, module in full.named_modules():
        kind = {nn.Conv2d: "out_channels", nn.Linear: "out_features"}.get(type(module))
        # a narrow network may need no projection
        if kind and layer in scaled and getattr(module, kind) != FULL.classes:
            assert getattr(scaled[layer], kind) == scale_channels(getattr(module, kind), width)
            hidden += 1
    assert hidden
    assert all(m.out_channels % 8 == 0 for m in net.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("init", INITS)
def test_the_weights_depend_on_the_seed_alone_and_the_global_generator_stays(name, init):
    before = torch.get_rng_state()
    one, other = (build(small(name, init=init), seed=seed).state_dict() for seed in (5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        same = build(small(name, init=init), seed=5).state_dict()
    assert all(torch.equal(tensor, same[key]) for key, tensor in one.items())
    weights = [key for key, tensor in one.items() if tensor.dim() > 1 and not key.startswith("normalise")]
    assert weights
    least = 0.3 if init == "signed-constant" else 0.99  # half of the signs
    assert all((one[key] != other[key]).double().mean() > least for key in weights)
