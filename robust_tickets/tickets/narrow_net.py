"""Narrower dense nets that are as large as a ticket: is it the sparsity, or only the size?"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from robust_tickets.models import flops as flop_count
from robust_tickets.models import registry
from robust_tickets.models.registry import ModelSpec
from robust_tickets.pruning.mask import Mask, prunable

_STEPS = 256
"""Widths that are tried lie so many to the net's own: finer than the multiples of 8 that channels come in."""


@torch.no_grad()
def masked_flops(net: nn.Module, mask: Mask, shape: tuple[int, int, int]) -> int:
    """Forward FLOPs of one image (C, H, W) if every weight that the mask removes cost nothing.

    A multiply and an add are two, for each kept weight at each place of its layer's output: what PyTorch's
    counter gives for a mask of ones.
    """
    names = {id(weight): name for name, weight in prunable(net).items()}
    shapes = dict(mask.items())
    per_weight: dict[str, int] = {}

    def note(module: nn.Module, args: object, output: Tensor) -> None:
        name = names[id(module.weight)]
        per_weight[name] = per_weight.get(name, 0) + 2 * output.numel() // len(shapes[name])

    hooks = [m.register_forward_hook(note) for m in net.modules() if id(getattr(m, "weight", None)) in names]
    try:
        dense = flop_count.forward_flops(net, shape)
    finally:
        for hook in hooks:
            hook.remove()
    # what is no convolution or linear layer, such as attention's products, stays
    rest = dense - sum(flops * mask[name].numel() for name, flops in per_weight.items())
    return int(rest + sum(flops * int(mask[name].sum()) for name, flops in per_weight.items()))


def narrow_spec(spec: ModelSpec, size: str, *, flops: int, weights: int) -> ModelSpec:
    """The net at the width nearest, by the ratio, to these forward FLOPs (size flops) or prunable weights."""
    if size == "flops":
        return _narrowed(spec, flops, lambda net: flop_count.forward_flops(net, spec.shape))
    return _narrowed(spec, weights, lambda net: sum(w.numel() for w in prunable(net).values()))


def _narrowed(spec: ModelSpec, target: int, size: Callable[[nn.Module], int]) -> ModelSpec:
    """By bisection, as a wider net is never smaller; of the two widths around the target the nearer."""

    def at(step: int) -> ModelSpec:
        return replace(spec, width=spec.width * step / _STEPS)

    def distance(step: int) -> float:
        return abs(math.log(size(registry.build(at(step), seed=0)) / target))

    low, high = 1, _STEPS
    while high - low > 1:
        middle = (low + high) // 2
        if size(registry.build(at(middle), seed=0)) <= target:
            low = middle
        else:
            high = middle
    return at(min((high, low), key=distance))
