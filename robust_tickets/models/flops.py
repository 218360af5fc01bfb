"""FLOPs of a forward pass."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from robust_tickets.attacks import eval_mode
from robust_tickets.models.placement import blank_image
from robust_tickets.models.probe import eager

_Size = Sequence[int]


def _product(matrix: _Size, *others: object, out_shape: object = None) -> int:
    """Of a matrix and a vector, or of two vectors."""
    return 2 * math.prod(matrix)


def _added_product(bias: _Size, matrix: _Size, *others: object, out_shape: object = None) -> int:
    return 2 * math.prod(matrix)


def _bilinear(first: _Size, weight: _Size, second: _Size, *others: object, out_shape: object = None) -> int:
    """For each output x W y: W times x, then the rest times y."""
    pairs = math.prod(first) // first[-1]
    return 2 * pairs * (math.prod(weight) + weight[0] * weight[-1])


def _onednn_rnn(x: _Size, ahead: _Size, back: _Size, *others: object, out_shape: object) -> int:
    """One direction of one layer: all its gates at each time step."""
    return 2 * math.prod(x[:-1]) * (math.prod(ahead) + math.prod(back))


def _cudnn_rnn(inputs: _Size, weights: Sequence[_Size], *others: object, out_shape: object) -> int:
    """All directions and layers."""
    return 2 * math.prod(inputs[:-1]) * sum(math.prod(weight) for weight in weights if len(weight) > 1)


_FORMULAS: dict[Any, Callable[..., int]] = {
    torch.ops.aten.mv: _product,
    torch.ops.aten.dot: _product,
    torch.ops.aten.addmv: _added_product,
    torch.ops.aten._trilinear: _bilinear,
    torch.ops.aten.mkldnn_rnn_layer: _onednn_rnn,
    torch.ops.aten._cudnn_rnn: _cudnn_rnn,
}
"""Formulas of operators that PyTorch's counter leaves out, from the shapes of their arguments."""


def forward_flops(net: nn.Module, shape: tuple[int, int, int]) -> int:
    """FLOPs of a forward pass of one image, counted by PyTorch.

    shape: of the image, (C, H, W).

    A multiplication and an addition are two. Convolutions and matrix products are counted, those of
    attention, recurrent and bilinear layers too; element-wise operations and distances are not. The network
    is left as it was.
    """
    image = blank_image(net, shape)
    # in eval mode, as one image has no batch statistics
    with eval_mode(net), torch.no_grad(), _attention_in_parts(), warnings.catch_warnings():
        # of a compiled network, about the counter's own hooks
        warnings.filterwarnings("ignore", message=".*global hooks on modules")
        with eager(), FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
            net(image)
    return int(counter.get_total_flops())


@contextmanager
def _attention_in_parts() -> Iterator[None]:
    """Run attention as matrix products, since PyTorch cannot count some fused kernels."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
