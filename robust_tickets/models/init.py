"""Initial weights."""

import random as python_random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError


@torch.no_grad()
def _signed_constant(weight: Tensor) -> None:
    """Plus or minus sqrt(2 / fan_in), with the signs of a normal draw."""
    nn.init.kaiming_normal_(weight)
    fan_in = weight[0].numel()
    weight.copy_(torch.where(weight < 0, -1.0, 1.0) * (2 / fan_in) ** 0.5)


_LAWS: dict[str, Callable[[Tensor], object]] = {
    "glorot-normal": nn.init.xavier_normal_,
    "kaiming-normal": partial(nn.init.kaiming_normal_, mode="fan_in", nonlinearity="relu"),
    "signed-constant": _signed_constant,
}

INITS: tuple[str, ...] = ("default", *_LAWS)
"""Names of the inits; default: as the network's constructor draws them."""


def initialise(net: nn.Module, init: str) -> None:
    """Draw the weights of all convolutions and linear layers in place, from the global generator.

    init: "default" leaves the network unchanged. "glorot-normal" draws with standard deviation
        sqrt(2 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 12; the init of Frankle & Carbin 2019),
        "kaiming-normal" with sqrt(2 / fan_in) (He et al. 2015, eq. 10); "signed-constant" draws the sign of
        that number alone (Ramanujan et al. 2019, section 4.4). All set biases to zero and leave other layers,
        and frozen weights, unchanged.

    Raises InputError for a layer whose weight is computed from other parameters.
    """
    if init == "default":
        return
    layers = {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)
    }
    for name, layer in layers.items():
        if not isinstance(layer.weight, nn.Parameter):  # drawn values would be lost
            raise InputError(
                f"the weight of {name or 'the network'!r} is computed from other parameters: use the init "
                "'default', or parametrise the network later"
            )
    for layer in layers.values():
        if layer.weight.requires_grad:
            _LAWS[init](layer.weight)
        if layer.bias is not None and layer.bias.requires_grad:
            nn.init.zeros_(layer.bias)


@contextmanager
def seeded_like_torch(seed: int) -> Iterator[None]:
    """Seed the global generators of Python and numpy within the block, for weights drawn from them."""
    states = python_random.getstate(), np.random.get_state()
    try:
        python_random.seed(seed)
        np.random.seed(seed % 2**32)
        yield
    finally:
        python_random.setstate(states[0])
        np.random.set_state(states[1])
