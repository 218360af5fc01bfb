"""Layers of low rank as two smaller ones, by which a ticket in the basis svd saves numbers and FLOPs."""

import torch
from torch import nn

from robust_tickets.base.errors import InputError

_ZERO = 1e-6
"""Singular values below this share of the largest are rounding."""


@torch.no_grad()
def factorise(net: nn.Module) -> int:
    """Put two layers in the place of each convolution or linear layer that has fewer numbers so, in place.

    A convolution (out, in, kh, kw) of rank k becomes one with k outputs and one of 1 x 1 after it (k (in kh
    kw + out) numbers), a linear layer two linear layers. Gives how many numbers are saved. Raises InputError
    where none are.
    """
    saved = 0
    for parent in list(net.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear or (type(layer) is nn.Conv2d and layer.groups == 1):
                pair, less = _pair(layer)
                if pair is not None:
                    setattr(parent, name, pair)
                    saved += less
    if not saved:
        raise InputError(
            "no layer has so low a rank that two factors have fewer numbers: search with search.basis svd or "
            "svd-block, or export in another --format"
        )
    return saved


def _pair(layer: nn.Linear | nn.Conv2d) -> tuple[nn.Sequential | None, int]:
    """Two layers that compute the same, and how many numbers fewer they have; None where they have not."""
    weight = layer.weight
    matrix = weight.double().flatten(1)
    outputs, inputs = matrix.shape
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    rank = max(1, int((values > _ZERO * values[0]).sum()))
    saved = outputs * inputs - rank * (outputs + inputs)
    if saved <= 0:
        return None, 0
    has_bias = layer.bias is not None
    first: nn.Linear | nn.Conv2d
    second: nn.Linear | nn.Conv2d
    if isinstance(layer, nn.Linear):
        first, second = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=has_bias)
    else:
        first = nn.Conv2d(
            layer.in_channels,
            rank,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            bias=False,
            padding_mode=layer.padding_mode,
        )
        second = nn.Conv2d(rank, outputs, 1, bias=has_bias)
    first.weight.copy_(right[:rank].reshape(first.weight.shape))
    second.weight.copy_((left[:, :rank] * values[:rank]).reshape(second.weight.shape))
    if layer.bias is not None and second.bias is not None:
        second.bias.copy_(layer.bias)
    return nn.Sequential(first, second).train(layer.training), saved
