"""Fingerprints of networks: of the function that they compute, and of their weights."""

import hashlib
import re

import torch
from torch import nn

from robust_tickets.attacks.network import set_mode
from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.copy_net import copy_net


def function_fingerprint(net: nn.Module, shape: tuple[int, int, int]) -> str:
    """Sixteen hex digits of a network's layers and of the function that they compute, whatever its weights.

    shape: of an image, (C, H, W).

    The function is represented by the logits of a copy with constant weights, in float64 and to six digits
    against differences in rounding; a network that cannot compute in float64 is represented by its layers.
    """
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(net))  # addresses of objects differ from run to run
    text += str([(name, tuple(tensor.shape)) for name, tensor in net.state_dict().items()])
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((4, *shape), generator=generator, dtype=torch.float64)
    try:
        view = set_mode(copy_net(net).cpu().double(), False)
        with use_seed(0), torch.no_grad():
            for tensor in (*view.parameters(), *view.buffers()):
                if tensor.is_floating_point():
                    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                    fan_in = tensor[0].numel() if tensor.ndim > 1 else 1
                    # vectors are scales, biases and variances: positive and near 1
                    tensor.copy_(noise / fan_in**0.5 if tensor.ndim > 1 else 1 + 0.1 * noise.abs())
            text += str([f"{value:.6e}" for value in view(images).flatten().tolist()])
    except (RuntimeError, TypeError):
        text += "no logits"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def weights_fingerprint(net: nn.Module) -> str:
    """Sixteen hex digits of a network's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        values = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(values.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
