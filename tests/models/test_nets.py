"""Every net of the registry: sizes, names, forward passes that are recomputed elsewhere, folding, dropout."""

import dataclasses

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from robust_tickets.errors import InputError
from robust_tickets.models import ModelSpec, build, fold, initialise, names, norms_after
from robust_tickets.models.registry import channels

FULL = ModelSpec("resnet20", 1.0, (3, 32, 32), 10, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
SMALLEST = {  # image side
    "lenet-300-100": 1,
    "conv-2": 2,
    "conv-4": 4,
    "conv-6": 8,
    "vgg11": 32,
    "vgg16": 32,
    "vgg16-fc": 32,
    "vgg19": 16,
    "resnet20": 4,
    "resnet32": 4,
    "resnet56": 4,
    "resnet18": 8,
    "preact-resnet18": 8,
    "wrn10-1": 4,
    "wrn16-4": 4,
}
CONVS = ("conv-2", "conv-4", "conv-6")
FOLDED = {
    "vgg11": 8,
    "vgg16": 13,
    "vgg16-fc": 13,
    "vgg19": 16,
    "resnet20": 21,
    "resnet32": 33,
    "resnet56": 57,
    "resnet18": 20,
    "preact-resnet18": 8,  # the second norm of each block
    "wrn10-1": 3,
    "wrn16-4": 7,  # and the very first: its block convolves the shortcut
}


def small(name: str, side: int | None = None, **fields: object) -> ModelSpec:
    """Narrow, for images of the side (by default the smallest that fits)."""
    side = side or SMALLEST[name]
    return dataclasses.replace(FULL, name=name, width=0.25, shape=(3, side, side), classes=5, **fields)


def images_of(spec: ModelSpec, n: int = 6) -> Tensor:
    return torch.rand(n, *spec.shape, generator=torch.Generator().manual_seed(n), dtype=torch.float64)


def enliven(net: nn.Module, images: Tensor) -> nn.Module:
    """Float64, in eval mode, weights under which the images matter to the last layer, BatchNorms with scales
    and shifts of their own and statistics of the images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        initialise(net, "kaiming-normal")
    generator = torch.Generator().manual_seed(1)
    norms = [m for m in net.double().modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.data.uniform_(0.7, 1.5, generator=generator)
        norm.bias.data.uniform_(-0.3, 0.3, generator=generator)
        norm.momentum = 0.9  # not all of it: eval mode differs from training mode
    with torch.no_grad():
        net.train()(images)
    return net.eval()


@pytest.fixture(params=SMALLEST)
def name(request) -> str:
    return request.param


def test_every_name_of_the_registry_is_tested_here():
    assert set(names) == {name for name in SMALLEST if not name.startswith("wrn")}
    assert {*FOLDED, *CONVS, "lenet-300-100"} == set(SMALLEST)


# name -> parameters, weights of convolutions, weights of all layers; CIFAR-10, width 1
SIZES = {
    "conv-2": (4_301_642, 38_592, 4_300_992),  # Frankle & Carbin: 38K, 4.3M
    "conv-4": (2_425_930, 259_776, 2_425_024),  # 260K, 2.4M
    # 1.1M, "1.7M": their table's layers (4 x 4 x 256 inputs of the first linear layer) sum to 2.26M
    "conv-6": (2_262_602, 1_144_512, 2_261_184),
    "vgg11": (9_228_362, 9_217_728, 9_222_848),
    "vgg16": (14_724_042, 14_710_464, 14_715_584),
    "vgg16-fc": (14_987_722, 14_710_464, 14_977_728),  # Li et al. 2020
    "vgg19": (20_035_018, 20_018_880, 20_024_000),  # Frankle & Carbin: 20.0M
    "resnet20": (272_474, 270_256, 270_896),
    "resnet32": (466_906, 463_792, 464_432),
    "resnet56": (855_770, 850_864, 851_504),
    "resnet18": (11_173_962, 11_159_232, 11_164_352),
    "preact-resnet18": (11_172_170, 11_159_232, 11_164_352),
    "wrn28-10": (36_479_194, 36_454_832, 36_461_232),
    "wrn34-10": (46_160_474, 46_131_632, 46_138_032),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_the_published_ones(name):
    with torch.device("meta"):
        net = build(dataclasses.replace(FULL, name=name), seed=0)
    convolutions = sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d))
    linears = sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Linear))
    assert (sum(p.numel() for p in net.parameters()), convolutions, convolutions + linears) == SIZES[name]


def test_resnet20_has_274_042_numbers_with_its_running_statistics():
    net = build(FULL, seed=0)
    statistics = [b for name, b in net.named_buffers() if "running_" in name]
    assert sum(t.numel() for t in [*net.parameters(), *statistics]) == 274_042  # "274K" in Frankle & Carbin


RESNET18 = """
conv1 bn1
layer1.0.conv1 layer1.0.bn1 layer1.0.conv2 layer1.0.bn2
layer1.1.conv1 layer1.1.bn1 layer1.1.conv2 layer1.1.bn2
layer2.0.conv1 layer2.0.bn1 layer2.0.conv2 layer2.0.bn2 layer2.0.shortcut.0 layer2.0.shortcut.1
layer2.1.conv1 layer2.1.bn1 layer2.1.conv2 layer2.1.bn2
layer3.0.conv1 layer3.0.bn1 layer3.0.conv2 layer3.0.bn2 layer3.0.shortcut.0 layer3.0.shortcut.1
layer3.1.conv1 layer3.1.bn1 layer3.1.conv2 layer3.1.bn2
layer4.0.conv1 layer4.0.bn1 layer4.0.conv2 layer4.0.bn2 layer4.0.shortcut.0 layer4.0.shortcut.1
layer4.1.conv1 layer4.1.bn1 layer4.1.conv2 layer4.1.bn2
linear
"""
PREACT = """
conv1
layer1.0.bn1 layer1.0.conv1 layer1.0.bn2 layer1.0.conv2
layer1.1.bn1 layer1.1.conv1 layer1.1.bn2 layer1.1.conv2
layer2.0.bn1 layer2.0.conv1 layer2.0.bn2 layer2.0.conv2 layer2.0.shortcut.0
layer2.1.bn1 layer2.1.conv1 layer2.1.bn2 layer2.1.conv2
layer3.0.bn1 layer3.0.conv1 layer3.0.bn2 layer3.0.conv2 layer3.0.shortcut.0
layer3.1.bn1 layer3.1.conv1 layer3.1.bn2 layer3.1.conv2
layer4.0.bn1 layer4.0.conv1 layer4.0.bn2 layer4.0.conv2 layer4.0.shortcut.0
layer4.1.bn1 layer4.1.conv1 layer4.1.bn2 layer4.1.conv2
bn linear
"""
WRN16_4 = """
conv1
block1.layer.0.bn1 block1.layer.0.conv1 block1.layer.0.bn2 block1.layer.0.conv2 block1.layer.0.convShortcut
block1.layer.1.bn1 block1.layer.1.conv1 block1.layer.1.bn2 block1.layer.1.conv2
block2.layer.0.bn1 block2.layer.0.conv1 block2.layer.0.bn2 block2.layer.0.conv2 block2.layer.0.convShortcut
block2.layer.1.bn1 block2.layer.1.conv1 block2.layer.1.bn2 block2.layer.1.conv2
block3.layer.0.bn1 block3.layer.0.conv1 block3.layer.0.bn2 block3.layer.0.conv2 block3.layer.0.convShortcut
block3.layer.1.bn1 block3.layer.1.conv1 block3.layer.1.bn2 block3.layer.1.conv2
bn1 fc
"""


@pytest.mark.parametrize(
    ("name", "public"), [("resnet18", RESNET18), ("preact-resnet18", PREACT), ("wrn16-4", WRN16_4)]
)
def test_names_are_those_of_public_checkpoints(name, public):
    net = build(dataclasses.replace(FULL, name=name, width=0.25), seed=0)
    layers = {n for n, m in net.named_modules() if list(m.parameters(recurse=False))}
    assert layers == set(public.split())
    assert set(net.state_dict()) == {"normalise.mean", "normalise.std"} | {
        f"{layer}.{tensor}"
        for layer in layers
        for tensor in (
            ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
            if isinstance(net.get_submodule(layer), nn.BatchNorm2d)
            else ("weight", "bias")
            if isinstance(net.get_submodule(layer), nn.Linear)
            else ("weight",)
        )
    }


def test_a_wide_resnet_of_factor_1_needs_no_first_projection():
    net = build(dataclasses.replace(FULL, name="wrn10-1"), seed=0)
    projections = [n for n, _ in net.named_modules() if n.endswith("convShortcut")]
    assert projections == ["block2.layer.0.convShortcut", "block3.layer.0.convShortcut"]


@pytest.mark.parametrize(("depth", "factor"), [(10, 1), (16, 2), (22, 1), (28, 3), (40, 2)])
def test_a_wide_resnet_has_its_depth_and_widths(depth, factor):
    with torch.device("meta"):
        net = build(dataclasses.replace(FULL, name=f"wrn{depth}-{factor}"), seed=0)
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(layers) == depth - 3  # the paper counts the projections of the three stages
    per_stage = (depth - 4) // 3
    widths = [w * factor for w in (16, 32, 64) for _ in range(per_stage)]
    assert [m.out_channels for m in layers] == [16, *widths]


def test_resnet18_is_torchvisions_with_a_small_stem():
    spec = dataclasses.replace(small("resnet18", 16), width=1.0)
    images = images_of(spec)
    net = enliven(build(spec, seed=0), images)
    theirs = torchvision.models.resnet18(num_classes=5)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    state = {
        name.replace("shortcut", "downsample").replace("linear", "fc"): tensor
        for name, tensor in net.state_dict().items()
        if not name.startswith("normalise")
    }
    theirs.double().eval().load_state_dict(state)
    expected = theirs(net.normalise(images))
    assert float(expected.detach().std(0).max()) > 0.01
    torch.testing.assert_close(net(images), expected)


@pytest.mark.parametrize(("name", "cfg"), [("vgg11", "A"), ("vgg16", "D"), ("vgg16-fc", "D"), ("vgg19", "E")])
def test_features_of_vggs_are_torchvisions(name, cfg):
    plan = torchvision.models.vgg.cfgs[cfg]
    theirs = torchvision.models.vgg.make_layers(plan[:-1] if name == "vgg19" else plan, batch_norm=True)
    images = images_of(FULL, n=4)
    net = enliven(build(dataclasses.replace(FULL, name=name), seed=0), images)
    biases = {n: torch.zeros_like(p) for n, p in theirs.named_parameters() if p.dim() == 1}
    theirs.double().eval().load_state_dict({**biases, **net.features.state_dict()})
    images = net.normalise(images)
    expected = theirs(images)
    assert expected.shape == (4, 512, *((2, 2) if name == "vgg19" else (1, 1)))
    torch.testing.assert_close(net.features(images), expected)


@pytest.mark.parametrize("name", ["vgg11", "vgg16", "vgg16-fc", "vgg19"])
def test_vggs_end_in_a_mean_and_linear_layers(name):
    spec = small(name, 32)
    images = images_of(spec)
    net = enliven(build(spec, seed=0), images)
    x = net.features(net.normalise(images)).flatten(2).sum(2) / (4 if name == "vgg19" else 1)
    if name == "vgg16-fc":
        linear, norm, _ = net.hidden
        x = (linear(x) - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        x = x.clamp(min=0)
    torch.testing.assert_close(net(images), x @ net.linear.weight.T + net.linear.bias)


@pytest.mark.parametrize("side", [8, 11])
@pytest.mark.parametrize("name", CONVS)
def test_conv_n_is_convolutions_pools_and_three_linear_layers(name, side):
    spec = small(name, side)
    net = build(spec, seed=0).double().eval()
    p, images = net.state_dict(), images_of(spec)
    x = (images - p["normalise.mean"]) / p["normalise.std"]
    for block in range(int(name[-1]) // 2):
        for layer in (5 * block, 5 * block + 2):
            x = F.conv2d(x, p[f"features.{layer}.weight"], p[f"features.{layer}.bias"], padding="same").relu()
        x = F.max_pool2d(x, 2)
    x = x.flatten(1)
    x = (x @ p["fc1.weight"].T + p["fc1.bias"]).relu()
    x = (x @ p["fc2.weight"].T + p["fc2.bias"]).relu()
    torch.testing.assert_close(net(images), x @ p["fc3.weight"].T + p["fc3.bias"])


def preactivated(p: dict[str, Tensor], x: Tensor, stages: list[str], shortcut: str, last: str) -> Tensor:
    """The forward pass that TRADES and robust overfitting published, from a state."""

    def active(x: Tensor, norm: str) -> Tensor:
        statistics = (p[f"{norm}.running_mean"], p[f"{norm}.running_var"])
        return F.relu(F.batch_norm(x, *statistics, p[f"{norm}.weight"], p[f"{norm}.bias"]))

    x = F.conv2d(x, p["conv1.weight"], padding=1)
    for i, stage in enumerate(stages):
        for block in (0, 1):
            at, stride = f"{stage}.{block}.", 2 if i > 0 and block == 0 else 1
            out = active(x, at + "bn1")
            if at + shortcut in p:
                x = F.conv2d(out, p[at + shortcut], stride=stride)
            out = F.conv2d(out, p[at + "conv1.weight"], stride=stride, padding=1)
            x = x + F.conv2d(active(out, at + "bn2"), p[at + "conv2.weight"], padding=1)
    x = active(x, last)
    return x.flatten(2).mean(2)


@pytest.mark.parametrize("side", [8, 16])
def test_preact_resnet18_is_the_published_forward_pass(side):
    spec = small("preact-resnet18", side)
    images = images_of(spec)
    net = enliven(build(spec, seed=0), images)
    p = net.state_dict()
    x = preactivated(p, net.normalise(images), [f"layer{i}" for i in (1, 2, 3, 4)], "shortcut.0.weight", "bn")
    torch.testing.assert_close(net(images), x @ p["linear.weight"].T + p["linear.bias"])


@pytest.mark.parametrize("name", ["wrn16-1", "wrn16-4"])
def test_wide_resnets_are_the_published_forward_pass(name):
    spec = dataclasses.replace(FULL, name=name, width=0.5, shape=(3, 8, 8))
    images = images_of(spec)
    net = enliven(build(spec, seed=0), images)
    p = net.state_dict()
    stages = [f"block{i}.layer" for i in (1, 2, 3)]
    x = preactivated(p, net.normalise(images), stages, "convShortcut.weight", "bn1")
    torch.testing.assert_close(net(images), x @ p["fc.weight"].T + p["fc.bias"])


def test_folded_logits_are_the_nets(name):
    spec = small(name)
    images = images_of(spec)
    net = enliven(build(spec, seed=0), images)
    expected = net(images)
    assert float(expected.detach().std(0).max()) > 0.01  # the images matter
    torch.testing.assert_close(fold(net)(images), expected.detach(), rtol=0, atol=1e-10)
    assert len(norms_after(net)) == FOLDED.get(name, 0)


def test_a_net_gives_logits_for_its_classes_of_the_smallest_images_and_of_longer_ones(name):
    for shape in ((1, SMALLEST[name], SMALLEST[name]), (3, SMALLEST[name] + 3, SMALLEST[name])):
        spec = dataclasses.replace(small(name), shape=shape, mean=(0.5,) * shape[0], std=(0.2,) * shape[0])
        net = build(spec, seed=0).train()
        assert net(torch.rand(3, *shape)).shape == (3, 5)
        assert net.eval()(torch.rand(2, *shape)).isfinite().all()
        assert next(iter(dict(net.named_children()))) == "normalise"


def test_images_below_the_smallest_are_refused(name):
    if SMALLEST[name] > 1:
        with pytest.raises(InputError, match=rf"{name} needs images of at least {SMALLEST[name]} x"):
            build(small(name, SMALLEST[name] - 1), seed=0)


@pytest.mark.parametrize("width", [0.01, 0.3, 1.1])
@pytest.mark.parametrize("name", [*FOLDED, *CONVS])
def test_hidden_widths_are_multiples_of_8_near_to_what_was_asked(name, width):
    with torch.device("meta"):
        full, net = (
            build(dataclasses.replace(FULL, name=name, width=w, shape=(3, 64, 64)), seed=0)
            for w in (1, width)
        )
    scaled = dict(net.named_modules())
    hidden = 0
    for layer, module in full.named_modules():
        if isinstance(module, nn.Conv2d) and layer in scaled:  # a projection may be needed no more
            assert scaled[layer].out_channels == channels(module.out_channels, width)
            hidden += 1
        elif isinstance(module, nn.Linear) and module.out_features != FULL.classes:
            assert scaled[layer].out_features == channels(module.out_features, width)
            hidden += 1
    assert hidden
    assert all(m.out_channels % 8 == 0 for m in net.modules() if isinstance(m, nn.Conv2d))


def test_one_seed_gives_one_net_and_another_another(name):
    spec = small(name)
    one, same, other = (build(spec, seed=seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(tensor, same[key]) for key, tensor in one.items())
    drawn = [key for key, tensor in one.items() if tensor.dim() > 1 and not key.startswith("normalise")]
    assert drawn
    assert all((one[key] != other[key]).double().mean() > 0.99 for key in drawn)


@pytest.mark.parametrize("name", CONVS)
def test_dropout_follows_each_hidden_linear_layer_in_training_only(name):
    net, plain = (build(small(name, 8, dropout=p), seed=0).double() for p in (0.3, 0.0))
    images = images_of(small(name, 8), n=64)
    assert torch.equal(net.eval()(images), plain.train()(images))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = net.features(net.normalise(images)).flatten(1)
        x = F.dropout(net.fc1(x).relu(), 0.3)
        expected = net.fc3(F.dropout(net.fc2(x).relu(), 0.3))
        torch.manual_seed(0)
        torch.testing.assert_close(net.train()(images), expected, rtol=0, atol=0)
    assert not torch.allclose(expected, plain(images))
    view = fold(net)
    assert torch.equal(view(images), net.eval()(images))


def test_dropout_is_refused_by_nets_that_have_none(name):
    spec = dataclasses.replace(small(name), dropout=0.5)
    if name in CONVS:
        assert build(spec, seed=0).dropout.p == 0.5
    else:
        with pytest.raises(InputError, match=rf"{name} has no dropout, got 0.5: .* conv-2, conv-4, conv-6"):
            build(spec, seed=0)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 2.0, float("nan")])
def test_dropout_is_a_probability_below_1(dropout):
    with pytest.raises(InputError, match=f"dropout must be at least 0 and below 1, got {dropout}"):
        build(small("conv-2", dropout=dropout), seed=0)
