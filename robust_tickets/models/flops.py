"""What a forward pass costs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from attacks import eval_mode


def forward_flops(net: nn.Module, shape: tuple[int, int, int]) -> int:
    """FLOPs of one image (C, H, W) through the net, as PyTorch counts them.

    A multiply and an add are two; convolutions and matrix products count, what is done element by element
    does not. Attention counts as the matrix products that it is made of. The net is left as it was.
    """
    like = next(net.parameters())
    image = torch.zeros((1, *shape), dtype=like.dtype, device=like.device)
    # in eval mode, as one image has no batch statistics
    with eval_mode(net), torch.no_grad(), _attention_in_parts(), FlopCounterMode(display=False) as counter:
        net(image)
    return int(counter.get_total_flops())


@contextmanager
def _attention_in_parts() -> Iterator[None]:
    """Let attention run as matrix products: PyTorch's counter knows no formula for some of the fused ways."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
