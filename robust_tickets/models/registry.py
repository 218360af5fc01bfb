"""Builds networks by name and width."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from torch import nn

from robust_tickets.base.errors import InputError, unknown_name
from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.conv import CONV6, ConvN
from robust_tickets.models.init import INITS, initialise
from robust_tickets.models.lenet import LeNet300
from robust_tickets.models.mlp import MLP
from robust_tickets.models.normalise import Normalise
from robust_tickets.models.preact_resnet import PreActResNet
from robust_tickets.models.resnet import CifarResNet
from robust_tickets.models.vgg import VGG, VGG11, VGG13, VGG16, VGG19, Blocks, VGGLinear
from robust_tickets.models.wide_resnet import WideResNet
from robust_tickets.recipe.schema import Count, OneOf, Range, ShareOrZero


@dataclass(frozen=True)
class ModelSpec:
    """Everything that defines a network but its weights; recorded in tickets and checkpoints.

    Ranges are checked where it is read from a file; a recipe checks those of its own fields.
    """

    name: str
    width: Annotated[float, Range(above=0, most=64)]
    """factor on all hidden widths"""
    shape: tuple[Count, Count, Count]
    """of an image: channels, height, width"""
    classes: Count
    mean: tuple[float, ...]
    """of the normalisation, one a channel"""
    std: tuple[float, ...]
    init: Annotated[str, OneOf(lambda: INITS)] = "default"
    """one of `init.INITS`"""
    dropout: ShareOrZero = 0.0
    """share of the hidden linear units dropped in training"""


def build(spec: ModelSpec, *, seed: int) -> nn.Module:
    """Build a network with initial weights; the same seed gives the same weights.

    Raises InputError for an unknown name, and for images too small for the network.
    """
    entry = _entry(spec.name)
    if min(spec.shape[1:]) < entry.smallest:
        size = " x ".join(map(str, spec.shape[1:]))
        fitting = ", ".join(name for name, other in _NETS.items() if other.smallest <= min(spec.shape[1:]))
        raise InputError(
            f"{spec.name} needs images of at least {entry.smallest} x {entry.smallest} pixels, these are "
            f"{size}: choose another network by --model.name ({fitting})"
        )
    with use_seed(seed):
        net = entry.build(spec)
        initialise(net, spec.init)
        return net


@dataclass(frozen=True)
class _Entry:
    smallest: int
    """side of the smallest image, in pixels"""
    build: Callable[[ModelSpec], nn.Module]


def _lenet(spec: ModelSpec) -> nn.Module:
    units = (max(1, round(300 * spec.width)), max(1, round(100 * spec.width)))
    return LeNet300(spec.shape, spec.classes, units, _normalise(spec))


def _conv(spec: ModelSpec, blocks: Blocks) -> nn.Module:
    units = (scale_channels(256, spec.width), scale_channels(256, spec.width))
    scaled = [_scaled(block, spec) for block in blocks]
    return ConvN(spec.shape, spec.classes, scaled, units, spec.dropout, _normalise(spec))


def _vgg(spec: ModelSpec, blocks: Blocks, *, hidden: int | None = None, last_pool: bool = True) -> nn.Module:
    return VGG(
        spec.shape[0],
        spec.classes,
        [_scaled(block, spec) for block in blocks],
        _normalise(spec),
        hidden=None if hidden is None else scale_channels(hidden, spec.width),
        last_pool=last_pool,
    )


def _vgg_linear(spec: ModelSpec, blocks: Blocks, units: int) -> nn.Module:
    scaled = [_scaled(block, spec) for block in blocks]
    return VGGLinear(spec.shape[0], spec.classes, scaled, scale_channels(units, spec.width), _normalise(spec))


_Residual = Callable[[int, int, int, Sequence[int], Normalise], nn.Module]


def _residual(spec: ModelSpec, net: _Residual, n: int, widths: Sequence[int]) -> nn.Module:
    return net(spec.shape[0], spec.classes, n, _scaled(widths, spec), _normalise(spec))


def _mlp(spec: ModelSpec, depth: int) -> nn.Module:
    return MLP(spec.shape, spec.classes, scale_channels(128, spec.width), depth, _normalise(spec))


_CIFAR = (16, 32, 64)
_IMAGENET = (64, 128, 256, 512)

_NETS: dict[str, _Entry] = {
    "lenet-300-100": _Entry(1, _lenet),
    "conv-2": _Entry(2, lambda spec: _conv(spec, CONV6[:1])),
    "conv-4": _Entry(4, lambda spec: _conv(spec, CONV6[:2])),
    "conv-6": _Entry(8, lambda spec: _conv(spec, CONV6)),
    "vgg11": _Entry(32, lambda spec: _vgg(spec, VGG11)),
    "vgg13": _Entry(32, lambda spec: _vgg(spec, VGG13)),
    "vgg16": _Entry(32, lambda spec: _vgg(spec, VGG16)),
    "vgg16-fc": _Entry(32, lambda spec: _vgg(spec, VGG16, hidden=512)),
    "vgg16-3fc": _Entry(32, lambda spec: _vgg_linear(spec, VGG16, 256)),
    "vgg19": _Entry(16, lambda spec: _vgg(spec, VGG19, last_pool=False)),
    "resnet14": _Entry(4, lambda spec: _residual(spec, CifarResNet, 2, _CIFAR)),
    "resnet20": _Entry(4, lambda spec: _residual(spec, CifarResNet, 3, _CIFAR)),
    "resnet32": _Entry(4, lambda spec: _residual(spec, CifarResNet, 5, _CIFAR)),
    "resnet44": _Entry(4, lambda spec: _residual(spec, CifarResNet, 7, _CIFAR)),
    "resnet56": _Entry(4, lambda spec: _residual(spec, CifarResNet, 9, _CIFAR)),
    "resnet18": _Entry(8, lambda spec: _residual(spec, CifarResNet, 2, _IMAGENET)),
    "preact-resnet18": _Entry(8, lambda spec: _residual(spec, PreActResNet, 2, _IMAGENET)),
}

NAMES: tuple[str, ...] = tuple(_NETS)
"""The networks with a fixed name; `mlp-N` exists too, and `wrnD-K` for any depth D = 6n + 4 and factor K."""


def _entry(name: str) -> _Entry:
    if name in _NETS:
        return _NETS[name]
    if square := re.fullmatch("mlp-([1-9][0-9]?)", name):
        return _Entry(1, lambda spec: _mlp(spec, int(square[1])))
    if name.startswith("mlp-"):
        raise InputError(f"unknown network {name!r}: the N of mlp-N is a number from 1 to 99")
    wide = re.fullmatch("wrn([1-9][0-9]{0,3})-([1-9][0-9]{0,3})", name)
    if wide is None:
        raise InputError(
            f"{unknown_name('network', name, (*NAMES, 'wrn28-10', 'wrn34-10', 'mlp-3'))} (any mlp-N, and any "
            "wrnD-K, D = 6n + 4)"
        )
    depth, factor = map(int, wide.groups())
    n, rest = divmod(depth - 4, 6)
    if rest or n < 1:
        nearest = 6 * max(1, round((depth - 4) / 6)) + 4
        raise InputError(
            f"unknown network {name!r}: the depth D of wrnD-K must be 6n + 4, at least 10: "
            f"did you mean 'wrn{nearest}-{factor}'?"
        )
    return _Entry(4, lambda spec: _residual(spec, WideResNet, n, (16, *(factor * c for c in _CIFAR))))


def scale_channels(full: int, width: float) -> int:
    """The multiple of 8 nearest to width * full, and at least 8, which suits vector units."""
    return max(8, 8 * math.floor(full * width / 8 + 0.5))


def _scaled(widths: Sequence[int], spec: ModelSpec) -> list[int]:
    return [scale_channels(full, spec.width) for full in widths]


def _normalise(spec: ModelSpec) -> Normalise:
    return Normalise(spec.mean, spec.std)
