"""Forward passes equal torchvision's, published code's or plain implementations, folded or not."""

import copy
import dataclasses
from itertools import pairwise

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from robust_tickets.models.fold import fold, foldable_batchnorms
from robust_tickets.models.init import initialise
from robust_tickets.models.registry import NAMES, ModelSpec, build, scale_channels

FULL = ModelSpec("resnet20", 1.0, (3, 32, 32), 10, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
CONVS = ("conv-2", "conv-4", "conv-6")
FOLDED = {  # name -> image side, norms folded
    "lenet-300-100": (1, 0),
    "conv-2": (2, 0),
    "conv-4": (4, 0),
    "conv-6": (8, 0),
    "vgg11": (32, 8),
    "vgg16": (32, 13),
    "vgg16-fc": (32, 13),
    "vgg19": (16, 16),
    "resnet20": (4, 21),
    "resnet32": (4, 33),
    "resnet56": (4, 57),
    "resnet18": (8, 20),
    "preact-resnet18": (8, 8),  # the second norm of each block
    "wrn10-1": (4, 3),
    "wrn16-4": (4, 7),  # and the very first: its block convolves the shortcut
}


def small(name: str, side: int, **fields: object) -> ModelSpec:
    """A narrow network for images of that side."""
    return dataclasses.replace(FULL, name=name, width=0.25, shape=(3, side, side), classes=5, **fields)


def images_of(spec: ModelSpec, n: int = 6) -> Tensor:
    return torch.rand(n, *spec.shape, generator=torch.Generator().manual_seed(n), dtype=torch.float64)


def randomise(net: nn.Module, images: Tensor) -> nn.Module:
    """The network in float64 and eval mode, with random BatchNorms, and logits that depend on the images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        initialise(net, "kaiming-normal")
    generator = torch.Generator().manual_seed(1)
    norms = [m for m in net.double().modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.data.uniform_(0.7, 1.5, generator=generator)
        norm.bias.data.uniform_(-0.3, 0.3, generator=generator)
        norm.momentum = 0.9  # below 1, so that eval mode differs from training mode
    with torch.no_grad():
        net.train()(images)
    return net.eval()


def test_resnet18_equals_torchvision_s_with_a_small_first_convolution():
    spec = dataclasses.replace(small("resnet18", 16), width=1.0)
    images = images_of(spec)
    net = randomise(build(spec, seed=0), images)
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
def test_features_of_vggs_equal_torchvision_s(name, cfg):
    plan = [c if c == "M" else scale_channels(c, 0.25) for c in torchvision.models.vgg.cfgs[cfg]]
    theirs = torchvision.models.vgg.make_layers(plan[:-1] if name == "vgg19" else plan, batch_norm=True)
    spec = small(name, 32)
    images = images_of(spec, n=4)
    net = randomise(build(spec, seed=0), images)
    biases = {n: torch.zeros_like(p) for n, p in theirs.named_parameters() if p.dim() == 1}
    theirs.double().eval().load_state_dict({**biases, **net.features.state_dict()})
    images = net.normalise(images)
    expected = theirs(images)
    assert expected.shape == (4, 128, *((2, 2) if name == "vgg19" else (1, 1)))
    torch.testing.assert_close(net.features(images), expected)


@pytest.mark.parametrize("name", ["vgg11", "vgg16", "vgg19"])
def test_pooling_before_the_relu_changes_no_bit(name):
    """Outputs and all gradients, in float32, against the order of the paper: ReLU, then pool."""
    ours = build(small(name, 32), seed=0).train().features
    theirs = copy.deepcopy(ours)
    for i in [i for i, layer in enumerate(theirs) if isinstance(layer, nn.MaxPool2d)]:
        theirs[i], theirs[i + 1] = theirs[i + 1], theirs[i]
    images = images_of(small(name, 32)).float().mul(8).round()  # with ties
    results = []
    for net in (ours, theirs):
        point = images.clone().requires_grad_()
        out = net(point)
        out.square().sum().backward()
        results.append([out, point.grad, *[p.grad for p in net.parameters()]])
    assert any(isinstance(a, nn.MaxPool2d) and isinstance(b, nn.ReLU) for a, b in pairwise(ours))
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


@pytest.mark.parametrize("name", ["vgg11", "vgg16", "vgg16-fc", "vgg19"])
def test_vggs_end_with_a_mean_and_linear_layers(name):
    spec = small(name, 32)
    images = images_of(spec)
    net = randomise(build(spec, seed=0), images)
    x = net.features(net.normalise(images)).flatten(2).sum(2) / (4 if name == "vgg19" else 1)
    if name == "vgg16-fc":
        linear, norm, _ = net.hidden
        x = (linear(x) - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        x = x.clamp(min=0)
    torch.testing.assert_close(net(images), x @ net.linear.weight.T + net.linear.bias)


@pytest.mark.parametrize("side", [8, 11])
@pytest.mark.parametrize("name", CONVS)
def test_conv_n_equals_convolutions_pools_and_linear_layers(name, side):
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


def preact_forward(p: dict[str, Tensor], x: Tensor, stages: list[str], shortcut: str, last: str) -> Tensor:
    """The published forward pass of TRADES and of robust overfitting, from a state."""

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
def test_preact_resnet18_equals_the_published_forward_pass(side):
    spec = small("preact-resnet18", side)
    images = images_of(spec)
    net = randomise(build(spec, seed=0), images)
    p = net.state_dict()
    x = preact_forward(
        p, net.normalise(images), [f"layer{i}" for i in (1, 2, 3, 4)], "shortcut.0.weight", "bn"
    )
    torch.testing.assert_close(net(images), x @ p["linear.weight"].T + p["linear.bias"])


@pytest.mark.parametrize("name", ["wrn16-1", "wrn16-4"])
def test_wide_resnets_equal_the_published_forward_pass(name):
    spec = dataclasses.replace(FULL, name=name, width=0.5, shape=(3, 8, 8))
    images = images_of(spec)
    net = randomise(build(spec, seed=0), images)
    p = net.state_dict()
    stages = [f"block{i}.layer" for i in (1, 2, 3)]
    x = preact_forward(p, net.normalise(images), stages, "convShortcut.weight", "bn1")
    torch.testing.assert_close(net(images), x @ p["fc.weight"].T + p["fc.bias"])


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


def test_every_network_of_the_registry_is_tested_here():
    assert set(NAMES) == {name for name in FOLDED if not name.startswith("wrn")}


@pytest.mark.parametrize("name", FOLDED)
def test_folded_logits_equal_the_network_s(name):
    side, norms = FOLDED[name]
    spec = small(name, side)
    images = images_of(spec)
    net = randomise(build(spec, seed=0), images)
    expected = net(images)
    assert float(expected.detach().std(0).max()) > 0.01  # they depend on the images
    torch.testing.assert_close(fold(net)(images), expected.detach(), rtol=0, atol=1e-10)
    assert len(foldable_batchnorms(net)) == norms
