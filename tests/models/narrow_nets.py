"""Specs of narrow networks, one for each of the registry's, and images for them."""

import dataclasses

import torch
from torch import Tensor, nn

from robust_tickets.models.registry import ModelSpec

FULL = ModelSpec("resnet20", 1.0, (3, 32, 32), 10, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
SPECS = {  # of three kinds: linear layers, shortcuts, pooling
    "lenet-300-100": ModelSpec("lenet-300-100", 0.1, (1, 8, 8), 5, (0.3,), (0.4,)),
    "resnet20": ModelSpec("resnet20", 0.5, (3, 8, 8), 5, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)),
    "vgg16": ModelSpec("vgg16", 0.125, (3, 32, 32), 5, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)),
}
SMALLEST = {  # side of the smallest image
    "lenet-300-100": 1,
    "conv-2": 2,
    "conv-4": 4,
    "conv-6": 8,
    "vgg11": 32,
    "vgg13": 32,
    "vgg16": 32,
    "vgg16-fc": 32,
    "vgg16-3fc": 32,
    "vgg19": 16,
    "resnet14": 4,
    "resnet20": 4,
    "resnet32": 4,
    "resnet44": 4,
    "resnet56": 4,
    "resnet18": 8,
    "preact-resnet18": 8,
    "wrn10-1": 4,
    "wrn16-4": 4,
}
CONVS = ("conv-2", "conv-4", "conv-6")


def small(name: str, side: int | None = None, **fields: object) -> ModelSpec:
    """A narrow network for images of that side, by default the smallest that fits."""
    side = side or SMALLEST[name]
    return dataclasses.replace(FULL, name=name, width=0.25, shape=(3, side, side), classes=5, **fields)


def images_of(shape: tuple[int, ...], n: int = 6) -> Tensor:
    """Random images in float64."""
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(n), dtype=torch.float64)


def randomise(net: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """The network in float64 and training mode, with random BatchNorms that have seen images."""
    net.double()
    generator = torch.Generator().manual_seed(1)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        for parameter, low, high in ((norm.weight, 0.5, 1.5), (norm.bias, -0.3, 0.3)):
            if parameter is not None:
                parameter.data.uniform_(low, high, generator=generator)
        norm.momentum = None  # statistics of all images
    with torch.no_grad():
        net.train()(images_of(shape, n=32))
    for norm in norms:
        norm.momentum = 0.1
    return net
