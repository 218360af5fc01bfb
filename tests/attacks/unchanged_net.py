"""Checks that a network is left as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def net_state(net: nn.Module) -> tuple[list[object], list[Tensor | None]]:
    """Modes, hooks, objects of parameters and gradients; and copies of all tensors."""
    settings = [(name, m.training, len(m._forward_hooks)) for name, m in net.named_modules()]
    settings += [(name, id(p), p.requires_grad, id(p.grad)) for name, p in net.named_parameters()]
    tensors = [*net.parameters(), *net.buffers(), *(p.grad for p in net.parameters())]
    return settings, [None if tensor is None else tensor.detach().clone() for tensor in tensors]


@contextmanager
def unchanged(net: nn.Module) -> Iterator[None]:
    """Fail unless the block leaves the network as it was."""
    settings, tensors = net_state(net)
    yield
    settings_after, tensors_after = net_state(net)
    assert settings_after == settings
    for before, after in zip(tensors, tensors_after, strict=True):
        assert before is after is None or torch.equal(before, after)
