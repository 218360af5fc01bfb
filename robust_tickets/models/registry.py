"""Nets by name, with a width."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from robust_tickets.errors import InputError, unknown
from robust_tickets.models.lenet import LeNet300
from robust_tickets.models.normalise import Normalise
from robust_tickets.models.resnet import CifarResNet
from robust_tickets.models.vgg import VGG, VGG16


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to build a net again: recorded in tickets and checkpoints.

    `shape` is that of an image (C, H, W); `mean` and `std` have one value a channel.
    """

    name: str
    width: float
    shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def build(spec: ModelSpec, *, seed: int) -> nn.Module:
    """A freshly initialised net (PyTorch's default init); the same seed gives the same weights.

    Raises InputError for an unknown name, or images that are too small for the net.
    """
    if spec.name not in _BUILDERS:
        raise unknown("net", spec.name, _BUILDERS)
    smallest, builder = _BUILDERS[spec.name]
    if min(spec.shape[1:]) < smallest:
        size = " x ".join(map(str, spec.shape[1:]))
        fitting = ", ".join(name for name, (least, _) in _BUILDERS.items() if least <= min(spec.shape[1:]))
        raise InputError(
            f"{spec.name} needs images of at least {smallest} x {smallest} pixels, these are {size}: "
            f"choose another net by --model.name ({fitting})"
        )
    # layers draw from the global generator: borrow it, and give it back as it was
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU too
        return builder(spec)


def _lenet(spec: ModelSpec) -> nn.Module:
    units = (max(1, round(300 * spec.width)), max(1, round(100 * spec.width)))
    return LeNet300(spec.shape, spec.classes, units, _normalise(spec))


def _vgg16(spec: ModelSpec) -> nn.Module:
    blocks = [[channels(width, spec.width) for width in block] for block in VGG16]
    return VGG(spec.shape[0], spec.classes, blocks, _normalise(spec))


def _resnet20(spec: ModelSpec) -> nn.Module:
    widths = (channels(16, spec.width), channels(32, spec.width), channels(64, spec.width))
    return CifarResNet(spec.shape[0], spec.classes, 3, widths, _normalise(spec))


_BUILDERS: dict[str, tuple[int, Callable[[ModelSpec], nn.Module]]] = {
    "lenet-300-100": (1, _lenet),
    "vgg16": (32, _vgg16),
    "resnet20": (4, _resnet20),
}
"""Smallest image side and builder of each net."""


def channels(full: int, width: float) -> int:
    """The nearest multiple of 8 to width * full, at least 8: what vector units like."""
    return max(8, 8 * math.floor(full * width / 8 + 0.5))


def _normalise(spec: ModelSpec) -> Normalise:
    return Normalise(spec.mean, spec.std)
