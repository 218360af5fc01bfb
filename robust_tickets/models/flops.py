"""FLOPs of a forward pass."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from robust_tickets.attacks import eval_mode
from robust_tickets.models.placement import blank_image
from robust_tickets.models.probe import eager


def forward_flops(net: nn.Module, shape: tuple[int, int, int]) -> int:
    """FLOPs of a forward pass of one image, counted by PyTorch.

    shape: of the image, (C, H, W).

    A multiplication and an addition are two. Convolutions and matrix products are counted, those of attention
    too, and element-wise operations are not. The network is left as it was.
    """
    image = blank_image(net, shape)
    # in eval mode, as one image has no batch statistics
    with eval_mode(net), torch.no_grad(), _attention_in_parts(), warnings.catch_warnings():
        # of a compiled network, about the counter's own hooks
        warnings.filterwarnings("ignore", message=".*global hooks on modules")
        with eager(), FlopCounterMode(display=False) as counter:
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
