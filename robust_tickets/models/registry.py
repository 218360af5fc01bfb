"""Nets by name, with a width."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from robust_tickets.base.errors import InputError, unknown_name
from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.conv import CONV6, ConvN
from robust_tickets.models.init import initialise
from robust_tickets.models.lenet import LeNet300
from robust_tickets.models.normalise import Normalise
from robust_tickets.models.preact_resnet import PreActResNet
from robust_tickets.models.resnet import CifarResNet
from robust_tickets.models.vgg import VGG, VGG11, VGG16, VGG19, Blocks
from robust_tickets.models.wide_resnet import WideResNet


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to build a net again: recorded in tickets and checkpoints.

    `shape` is that of an image (C, H, W); `mean` and `std` have one value a channel. `init` is one of
    `init.INITS`, `dropout` the probability that a hidden linear unit is dropped in training.
    """

    name: str
    width: float
    shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    init: str = "default"
    dropout: float = 0.0


def build(spec: ModelSpec, *, seed: int) -> nn.Module:
    """A freshly initialised net; the same seed gives the same weights.

    Raises InputError for an unknown name or init, images that are too small for the net, a width that is no
    positive number, or dropout that is not in [0, 1) or that the net does not have.
    """
    net = _entry(spec.name)
    if min(spec.shape[1:]) < net.smallest:
        size = " x ".join(map(str, spec.shape[1:]))
        fitting = ", ".join(name for name, other in _NETS.items() if other.smallest <= min(spec.shape[1:]))
        raise InputError(
            f"{spec.name} needs images of at least {net.smallest} x {net.smallest} pixels, these are {size}: "
            f"choose another net by --model.name ({fitting})"
        )
    if not 0 < spec.width < math.inf:
        raise InputError(f"width must be a positive number, got {spec.width!r}")
    if not 0 <= spec.dropout < 1:
        raise InputError(f"dropout must be at least 0 and below 1, got {spec.dropout!r}")
    if spec.dropout and not net.dropout:
        able = ", ".join(name for name, other in _NETS.items() if other.dropout)
        raise InputError(
            f"{spec.name} has no dropout, got {spec.dropout!r}: set it to 0, or choose of {able}"
        )
    with use_seed(seed):
        built = net.build(spec)
        initialise(built, spec.init)
        return built


@dataclass(frozen=True)
class _Net:
    smallest: int
    """image side, in pixels"""
    build: Callable[[ModelSpec], nn.Module]
    dropout: bool = False


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


_Residual = Callable[[int, int, int, Sequence[int], Normalise], nn.Module]


def _residual(spec: ModelSpec, net: _Residual, n: int, widths: Sequence[int]) -> nn.Module:
    return net(spec.shape[0], spec.classes, n, _scaled(widths, spec), _normalise(spec))


_CIFAR = (16, 32, 64)
_IMAGENET = (64, 128, 256, 512)

_NETS: dict[str, _Net] = {
    "lenet-300-100": _Net(1, _lenet),
    "conv-2": _Net(2, lambda spec: _conv(spec, CONV6[:1]), dropout=True),
    "conv-4": _Net(4, lambda spec: _conv(spec, CONV6[:2]), dropout=True),
    "conv-6": _Net(8, lambda spec: _conv(spec, CONV6), dropout=True),
    "vgg11": _Net(32, lambda spec: _vgg(spec, VGG11)),
    "vgg16": _Net(32, lambda spec: _vgg(spec, VGG16)),
    "vgg16-fc": _Net(32, lambda spec: _vgg(spec, VGG16, hidden=512)),
    "vgg19": _Net(16, lambda spec: _vgg(spec, VGG19, last_pool=False)),
    "resnet20": _Net(4, lambda spec: _residual(spec, CifarResNet, 3, _CIFAR)),
    "resnet32": _Net(4, lambda spec: _residual(spec, CifarResNet, 5, _CIFAR)),
    "resnet56": _Net(4, lambda spec: _residual(spec, CifarResNet, 9, _CIFAR)),
    "resnet18": _Net(8, lambda spec: _residual(spec, CifarResNet, 2, _IMAGENET)),
    "preact-resnet18": _Net(8, lambda spec: _residual(spec, PreActResNet, 2, _IMAGENET)),
}

NAMES: tuple[str, ...] = tuple(_NETS)
"""The nets with a fixed name; `wrnD-K` stands beside them for any depth D = 6n + 4 and any factor K."""


def _entry(name: str) -> _Net:
    if name in _NETS:
        return _NETS[name]
    wide = re.fullmatch("wrn([1-9][0-9]{0,3})-([1-9][0-9]{0,3})", name)
    if wide is None:
        raise InputError(
            f"{unknown_name('net', name, (*NAMES, 'wrn28-10', 'wrn34-10'))} (any wrnD-K, D = 6n + 4)"
        )
    depth, factor = map(int, wide.groups())
    n, rest = divmod(depth - 4, 6)
    if rest or n < 1:
        nearest = 6 * max(1, round((depth - 4) / 6)) + 4
        raise InputError(
            f"unknown net {name!r}: the depth D of wrnD-K must be 6n + 4, at least 10: "
            f"did you mean 'wrn{nearest}-{factor}'?"
        )
    return _Net(4, lambda spec: _residual(spec, WideResNet, n, (16, *(factor * c for c in _CIFAR))))


def scale_channels(full: int, width: float) -> int:
    """The nearest multiple of 8 to width * full, at least 8: what vector units like."""
    return max(8, 8 * math.floor(full * width / 8 + 0.5))


def _scaled(widths: Sequence[int], spec: ModelSpec) -> list[int]:
    return [scale_channels(full, spec.width) for full in widths]


def _normalise(spec: ModelSpec) -> Normalise:
    return Normalise(spec.mean, spec.std)
