"""The network under attack: any callable from images to logits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Net = Callable[[Tensor], Tensor]
"""From images (N, C, H, W) to logits (N, K)."""


@contextmanager
def eval_mode(net: Net) -> Iterator[None]:
    """Put a module into eval mode and its parameters out of the graph, for the length of a `with` block.

    Each module's own mode is restored, so BatchNorm layers that the user froze stay frozen; and buffers, as
    some networks count their calls. A network that is no `nn.Module` is left alone: its parts are unknown.
    """
    if not isinstance(net, nn.Module):
        yield
        return
    modes = [(module, module.training) for module in net.modules()]
    trainable = [p for p in net.parameters() if p.requires_grad]
    buffers = [
        (module, name, buffer, buffer._version, buffer.detach().clone())
        for module in net.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        net.eval()
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module, mode in modes:
            module.training = mode
        for module, name, buffer, version, value in buffers:
            module._buffers[name] = buffer
            if buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(value)


def misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether each sample is classified wrongly, bool (N,); NaN logits classify nothing."""
    return (logits.argmax(1) != labels) | logits.isnan().any(1)
