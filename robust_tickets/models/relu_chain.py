"""Networks that are linear layers with ReLU between them, as matrices."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.normalise import Normalise

Numbers = NDArray[np.float64]

_TOLERANCE = 1e-4  # float32 sums of a thousand terms


@dataclass(frozen=True)
class Layer:
    """One linear layer: weight (out, in) and bias (out)."""

    weight: Numbers
    bias: Numbers


def relu_chain(net: nn.Module, shape: tuple[int, int, int]) -> list[Layer]:
    """The layers of a network for images (C, H, W), its normalisation within the first one.

    Raises InputError where they do not give the network's logits on random images.
    """
    linear: list[nn.Linear] = []
    hooks = [
        module.register_forward_hook(lambda layer, *_: linear.append(layer))
        for module in net.modules()
        if isinstance(module, nn.Linear)
    ]
    with use_seed(0), torch.no_grad():
        # beyond [0, 1] too, where a ReLU after the logits would show
        images = torch.cat([torch.rand(64, *shape), 10 * torch.randn(64, *shape)])
        try:
            logits: Tensor = net.eval()(images)
        finally:
            for hook in hooks:
                hook.remove()
    layers = [_layer(module) for module in linear]
    if layers and layers[0].weight.shape[1] == images[0].numel():
        layers[0] = _with_normalisation(layers[0], net, shape)
        found = activations(layers, images.flatten(1).double().numpy())[-1]
        if found.shape == logits.shape and np.allclose(found, logits.numpy(), _TOLERANCE, _TOLERANCE):
            return layers
    raise InputError(
        "the network is more than linear layers with ReLU between them, and only such can be rebuilt: take "
        "one like lenet-300-100"
    )


def activations(layers: list[Layer], images: Numbers) -> list[Numbers]:
    """What each layer is given, flat images (N, in) first, and last the logits (N, classes)."""
    values = [images]
    for layer in layers[:-1]:
        values.append(np.maximum(values[-1] @ layer.weight.T + layer.bias, 0))
    return [*values, values[-1] @ layers[-1].weight.T + layers[-1].bias]


def _layer(module: nn.Linear) -> Layer:
    weight = module.weight.detach().double().numpy()
    bias = np.zeros(len(weight)) if module.bias is None else module.bias.detach().double().numpy()
    return Layer(weight, bias)


def _with_normalisation(layer: Layer, net: nn.Module, shape: tuple[int, int, int]) -> Layer:
    """The layer for images that are not normalised."""
    norm = next((module for module in net.modules() if isinstance(module, Normalise)), None)
    if norm is None:
        return layer
    mean, std = (each.detach().double().expand(shape).flatten().numpy() for each in (norm.mean, norm.std))
    return Layer(layer.weight / std, layer.bias - layer.weight @ (mean / std))
