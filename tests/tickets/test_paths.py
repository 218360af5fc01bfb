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
