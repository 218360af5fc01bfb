"""A network that pruning cut in two is refused, and no other."""

import pytest
import torch
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import SPECS
from robust_tickets.models import registry
from robust_tickets.models.registry import ModelSpec
from robust_tickets.pruning.densities import random_mask
from robust_tickets.pruning.mask import Mask
from robust_tickets.tickets.connectivity import check_paths

SHAPE = (1, 8, 8)


class Chain(nn.Module):
    """Two convolutions and a head, perhaps with a layer norm before it."""

    def __init__(self, norm=False):
        super().__init__()
        self.one = nn.Conv2d(1, 4, 3)
        self.two = nn.Conv2d(4, 4, 3)
        self.norm = nn.LayerNorm(4) if norm else nn.Identity()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.norm(torch.relu(self.two(torch.relu(self.one(x)))).mean((2, 3))))


def mask_without(net, **removed):
    """The mask that prunes the weights at some indices of each layer."""
    mask = Mask.full(net)
    for layer, index in removed.items():
        mask[f"{layer}.weight"][index] = False
    return mask


@pytest.mark.parametrize("norm", [False, True])
def test_a_layer_that_reads_only_pruned_channels_is_named(norm):
    net = Chain(norm)
    mask = mask_without(net, one=slice(2, 4), two=(slice(None), slice(0, 2)))
    assert all(bool(entries.any()) for entries in mask.values())
    with pytest.raises(InputError, match=r"no path .* left in two.weight \(density 0.5\) read nothing"):
        check_paths(net, mask, SHAPE)


@pytest.mark.parametrize("norm", [False, True])
def test_one_thin_path_is_enough(norm):
    net = Chain(norm)
    mask = mask_without(net, one=slice(1, 4), two=slice(1, 4), head=(slice(None), slice(1, 4)))
    check_paths(net, mask, SHAPE)


def test_a_shortcut_is_a_path():
    """In a residual network a whole block may be cut."""
    digits = SPECS["digits"]
    net = registry.build(ModelSpec("resnet20", 0.5, digits.shape, 10, digits.mean, digits.std), seed=0)
    mask = dict(Mask.full(net))
    mask["layer1.0.conv1.weight"] = torch.zeros_like(mask["layer1.0.conv1.weight"])
    check_paths(net, Mask(mask), digits.shape)
    mask["conv1.weight"] = torch.zeros_like(mask["conv1.weight"])
    with pytest.raises(InputError, match="no path leads through"):
        check_paths(net, Mask(mask), digits.shape)


@pytest.mark.parametrize(
    "name", ["lenet-300-100", "conv-4", "resnet18", "preact-resnet18", "wrn10-1", "vgg16"]
)
@pytest.mark.parametrize("init", ["untrained", "vanishing"])
def test_usual_masks_pass_whatever_the_weights(name, init):
    shape = (3, 32, 32)
    net = registry.build(ModelSpec(name, 0.25, shape, 10, (0.5,) * 3, (0.2,) * 3), seed=0)
    if init == "vanishing":
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(-1e-20)
            for module in net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean.fill_(1e6)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    check_paths(net, random_mask(Mask.full(net), 0.9, "erk", 0, frozenset()), shape)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


class Probed(Chain):
    """A chain that what is given makes hard to probe."""

    def __init__(self, before=lambda x: x, activation=torch.relu, depth=0):
        super().__init__()
        self.before, self.activation = before, activation
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(depth))

    def forward(self, x):
        x = self.activation(self.one(self.before(x)))
        for block in self.blocks:
            x = x + self.activation(block(x))
        return self.head(self.activation(self.two(x)).mean((2, 3)))


def only_pixels(x):
    assert float(x.min()) >= 0
    assert float(x.max()) <= 1
    return x


PROBED = {
    "relu6": lambda: Probed(activation=nn.functional.relu6, depth=12),
    "normalised-relu6": lambda: Probed(lambda x: (x - 0.5) / 0.01, nn.functional.relu6, depth=4),
    "hardtanh": lambda: Probed(activation=nn.functional.hardtanh, depth=6),
    "hardswish": lambda: Probed(activation=nn.functional.hardswish, depth=6),
    "softshrink": lambda: Probed(activation=lambda x: nn.functional.softshrink(x, 0.2)),
    "negative": lambda: Probed(activation=lambda x: -torch.relu(-x)),
    "float32": lambda: Probed(lambda x: x.float(), nn.functional.relu6, depth=12),
    "pixels": lambda: Probed(only_pixels),
    "blind": lambda: Probed(activation=torch.sign),
}


@pytest.mark.parametrize("name", PROBED)
def test_a_network_that_is_hard_to_probe_has_a_path(name):
    net = PROBED[name]()
    check_paths(net, Mask.full(net), SHAPE)
    check_paths(net, random_mask(Mask.full(net), 0.3, "uniform", 0, frozenset()), SHAPE)


@pytest.mark.parametrize("name", ["relu6", "normalised-relu6", "hardtanh", "hardswish", "float32", "pixels"])
def test_a_cut_is_seen_all_the_same(name):
    net = PROBED[name]()
    mask = mask_without(net, two=slice(0, 2), head=(slice(None), slice(2, 4)))
    with pytest.raises(InputError, match=r"no path .* left in head.weight"):
        check_paths(net, mask, SHAPE)
