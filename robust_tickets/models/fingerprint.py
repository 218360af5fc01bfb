"""Two nets told apart: by what they compute, and by where they begin."""

import hashlib
import re

import torch
from torch import nn

from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.fold import copy_net


def function_fingerprint(net: nn.Module, shape: tuple[int, int, int]) -> str:
    """Sixteen hex digits of a net's layers and of what they compute from images (C, H, W), not its weights.

    The logits of a copy with weights that are always the same count, in float64 to six digits, so that
    rounding does not make another net of it; a net that computes in no other type than its own goes without.
    """
    told = re.sub(r" at 0x[0-9a-f]+", "", repr(net))  # where an object lies differs from run to run
    told += str([(name, tuple(tensor.shape)) for name, tensor in net.state_dict().items()])
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((4, *shape), generator=generator, dtype=torch.float64)
    try:
        view = copy_net(net).cpu().double().eval()
        with use_seed(0), torch.no_grad():
            for tensor in (*view.parameters(), *view.buffers()):
                if tensor.is_floating_point():
                    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                    fan_in = tensor[0].numel() if tensor.ndim > 1 else 1
                    # vectors are scales, shifts and variances: near 1, and above 0
                    tensor.copy_(noise / fan_in**0.5 if tensor.ndim > 1 else 1 + 0.1 * noise.abs())
            told += str([f"{value:.6e}" for value in view(images).flatten().tolist()])
    except (RuntimeError, TypeError):
        told += "no logits"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def weights_fingerprint(net: nn.Module) -> str:
    """Sixteen hex digits of a net's parameters and buffers as they are."""
    digest = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        values = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(values.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
