"""Forward passes equal torchvision's, published code's or plain implementations, folded or not."""

import copy
import dataclasses
from itertools import pairwise

import pytest
import torch
import torchvision
from narrow_nets import CONVS, SMALLEST, images_of, randomise, small
from torch import Tensor, nn
from torch.nn import functional as F

from robust_tickets.models.fold import fold, foldable_batchnorms
from robust_tickets.models.registry import ModelSpec, build, scale_channels

NORMS = {  # how many are folded
    "vgg11": 8,
    "vgg13": 10,
    "vgg16": 13,
    "vgg16-fc": 13,
    "vgg16-3fc": 13,
    "vgg19": 16,
    "resnet14": 15,
    "resnet20": 21,
    "resnet32": 33,
    "resnet44": 45,
    "resnet56": 57,
    "resnet18": 20,
    "preact-resnet18": 8,  # the second norm of each block
    "wrn10-1": 3,
    "wrn16-4": 7,  # and the very first: its block convolves the shortcut
}


def lively(spec: ModelSpec) -> nn.Module:
    """The network in float64 and eval mode, with logits that depend on the images."""
    return randomise(build(dataclasses.replace(spec, init="kaiming-normal"), seed=0), spec.shape).eval()


def test_resnet18_equals_torchvision_s_with_a_small_first_convolution():
    spec = dataclasses.replace(small("resnet18", 16), width=1.0)
    images = images_of(spec.shape)
    net = lively(spec)
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


@pytest.mark.parametrize(
    ("name", "cfg"), [("vgg11", "A"), ("vgg13", "B"), ("vgg16", "D"), ("vgg16-fc", "D"), ("vgg19", "E")]
)
def test_vggs_are_torchvision_s_features_a_mean_and_linear_layers(name, cfg):
    plan = [c if c == "M" else scale_channels(c, 0.25) for c in torchvision.models.vgg.cfgs[cfg]]
    theirs = torchvision.models.vgg.make_layers(plan[:-1] if name == "vgg19" else plan, batch_norm=True)
    images = images_of((3, 32, 32))
    net = lively(small(name, 32))
    biases = {n: torch.zeros_like(p) for n, p in theirs.named_parameters() if p.dim() == 1}
    theirs.double().eval().load_state_dict({**biases, **net.features.state_dict()})
    x = theirs(net.normalise(images))
    assert float(x.detach().std(0).max()) > 0.01
    assert x.shape == (6, 128, *((2, 2) if name == "vgg19" else (1, 1)))
    x = x.mean((2, 3))
    if name == "vgg16-fc":
        linear, norm, _ = net.hidden
        x = (linear(x) - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        x = x.clamp(min=0)
    torch.testing.assert_close(net(images), x @ net.linear.weight.T + net.linear.bias)


def test_vgg16_3fc_is_torchvision_s_features_and_three_linear_layers():
    plan = [c if c == "M" else scale_channels(c, 0.25) for c in torchvision.models.vgg.cfgs["D"]]
    theirs = nn.Sequential()
    theirs.features = torchvision.models.vgg.make_layers(plan[:-1], batch_norm=True)
    theirs.classifier = nn.Sequential(
        nn.Linear(4 * 128, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 5)
    )
    net, images = lively(small("vgg16-3fc", 32)), images_of((3, 32, 32))
    state = {name: value for name, value in net.state_dict().items() if not name.startswith("normalise")}
    biases = {n: torch.zeros_like(p) for n, p in theirs.named_parameters() if p.dim() == 1}
    theirs.double().eval().load_state_dict({**biases, **state})
    x = F.adaptive_avg_pool2d(theirs.features(net.normalise(images)), 2)
    expected = theirs.classifier(x.flatten(1))
    assert float(expected.detach().std(0).max()) > 1e-4
    torch.testing.assert_close(net(images), expected)


@pytest.mark.parametrize("name", ["vgg11", "vgg16", "vgg19"])
def test_pooling_before_the_relu_changes_no_bit(name):
    """Outputs and all gradients, in float32, against the order of the paper: ReLU, then pool."""
    ours = build(small(name, 32), seed=0).train().features
    theirs = copy.deepcopy(ours)
    for i in [i for i, layer in enumerate(theirs) if isinstance(layer, nn.MaxPool2d)]:
        theirs[i], theirs[i + 1] = theirs[i + 1], theirs[i]
    images = images_of((3, 32, 32)).float().mul(8).round()  # with ties
    results = []
    for net in (ours, theirs):
        point = images.clone().requires_grad_()
        out = net(point)
        out.square().sum().backward()
        results.append([out, point.grad, *[p.grad for p in net.parameters()]])
    assert any(isinstance(a, nn.MaxPool2d) and isinstance(b, nn.ReLU) for a, b in pairwise(ours))
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


@pytest.mark.parametrize("side", [8, 11])
@pytest.mark.parametrize("name", CONVS)
def test_conv_n_equals_convolutions_pools_and_linear_layers(name, side):
    spec = small(name, side)
    net = build(spec, seed=0).double().eval()
    p, images = net.state_dict(), images_of(spec.shape)
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


RESNET = ([f"layer{i}" for i in (1, 2, 3, 4)], "shortcut.0.weight", "bn", "linear")
WIDE = ([f"block{i}.layer" for i in (1, 2, 3)], "convShortcut.weight", "bn1", "fc")


@pytest.mark.parametrize(
    ("name", "side", "layers"),
    [
        ("preact-resnet18", 8, RESNET),
        ("preact-resnet18", 16, RESNET),
        ("wrn16-1", 8, WIDE),
        ("wrn16-4", 8, WIDE),
    ],
)
def test_networks_with_norms_first_equal_the_published_forward_pass(name, side, layers):
    stages, shortcut, last, head = layers
    images, net = images_of((3, side, side)), lively(small(name, side))
    p = net.state_dict()
    x = preact_forward(p, net.normalise(images), stages, shortcut, last)
    torch.testing.assert_close(net(images), x @ p[f"{head}.weight"].T + p[f"{head}.bias"])


@pytest.mark.parametrize("name", CONVS)
def test_dropout_follows_each_hidden_linear_layer_in_training_only(name):
    net, plain = (build(small(name, 8, dropout=p), seed=0).double() for p in (0.3, 0.0))
    images = images_of((3, 8, 8), n=64)
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


@pytest.mark.parametrize("name", SMALLEST)
def test_folded_logits_equal_the_network_s(name):
    spec = small(name)
    images = images_of(spec.shape)
    net = lively(spec)
    expected = net(images)
    assert float(expected.detach().std(0).max()) > 0.01  # they depend on the images
    torch.testing.assert_close(fold(net)(images), expected.detach(), rtol=0, atol=1e-10)
    assert len(foldable_batchnorms(net)) == NORMS.get(name, 0)
