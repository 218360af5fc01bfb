"""Narrower dense networks as large as a ticket, to tell the effect of sparsity from that of size."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from robust_tickets.models import registry
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.registry import ModelSpec
from robust_tickets.pruning.layers import Shape, observe_layers
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.own_forward import saves_by_zeros

_STEPS = 256
"""Widths to try, evenly spaced up to the network's own: finer than the multiples of 8 of channels."""


@torch.no_grad()
def masked_flops(net: nn.Module, mask: Mask, shape: Shape) -> int:
    """Forward FLOPs of one image (C, H, W) if the weights that the mask removes cost nothing.

    A multiplication and an addition, two FLOPs, for each kept weight at each position of its layer's output:
    for a full mask the figure of PyTorch's counter. Of a mask of coefficients, the weights that are bound to
    be zero.
    """
    mask = mask.support
    per_weight: dict[str, int] = {}
    others = {id(layer) for layer in net.modules() if not saves_by_zeros(layer)}

    def observe(name: str, layer: nn.Module, output: Tensor) -> None:
        if id(layer) in others:  # what it computes of its zeros is not zero
            return
        per_weight[name] = per_weight.get(name, 0) + 2 * output.numel() // len(mask[name])

    with observe_layers(net, observe):
        dense = forward_flops(net, shape)
    # the rest, such as the products of attention, belongs to no convolution or linear layer and stays
    rest = dense - sum(flops * mask[name].numel() for name, flops in per_weight.items())
    return int(rest + sum(flops * int(mask[name].sum()) for name, flops in per_weight.items()))


def narrow_spec(spec: ModelSpec, match: str, *, flops: int, weights: int) -> ModelSpec:
    """The network at the width at which it comes nearest to a size, by the ratio.

    spec: the network at its own width.
    match: the quantity to match, "flops" (forward FLOPs) or "weights" (prunable weights).
    flops, weights: the size in either.
    """
    if match == "flops":
        return _nearest_width(spec, flops, lambda net: forward_flops(net, spec.shape))
    return _nearest_width(spec, weights, lambda net: Mask.full(net).size)


def _nearest_width(spec: ModelSpec, target: int, size: Callable[[nn.Module], int]) -> ModelSpec:
    """By bisection, as a wider network is never smaller; of the two widths around the target the nearer."""

    def spec_at(step: int) -> ModelSpec:
        return replace(spec, width=spec.width * step / _STEPS)

    def distance(step: int) -> float:
        return abs(math.log(size(registry.build(spec_at(step), seed=0)) / target))

    low, high = 1, _STEPS
    while high - low > 1:
        middle = (low + high) // 2
        if size(registry.build(spec_at(middle), seed=0)) <= target:
            low = middle
        else:
            high = middle
    return spec_at(min((high, low), key=distance))
