"""Single passes of a network on random images, which prove something of it before any work."""

import sys
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.init import seeded_like_torch

Shape = tuple[int, int, int]
"""Channels, height and width of an image."""


def trial_images(net: nn.Module, shape: Shape) -> Tensor:
    """Two random images (2, C, H, W) in the type and on the device of a network's first parameter."""
    like = next((p for p in net.parameters() if p.is_floating_point()), torch.empty(0))
    return torch.rand((2, *shape), generator=torch.Generator().manual_seed(0)).to(like.device, like.dtype)


@torch.no_grad()
def trial_logits(net: nn.Module, images: Tensor) -> Tensor:
    """A network's logits for images, with the random numbers of one seed; whatever its code raises."""
    return _forward(net, images).float()


def trial_leaves(net: nn.Module, images: Tensor) -> list[Tensor]:
    """The leaves of the graph of a network's logits: the tensors that a training step has gradients of.

    Whatever the network's code raises is raised.
    """
    with torch.enable_grad():
        logits = _forward(net, images)
    return [node.variable for node in graph_nodes(logits) if hasattr(node, "variable")]


def leaf_uses(net: nn.Module, images: Tensor) -> Counter[int]:
    """How often the graph of a network's logits reads each leaf, by the leaf's id; a call of a layer is one.

    Whatever the network's code raises is raised.
    """
    with torch.enable_grad():
        logits = _forward(net, images)
    following = (each for node in graph_nodes(logits) for each, _ in node.next_functions)
    return Counter(id(node.variable) for node in following if hasattr(node, "variable"))


def graph_nodes(logits: Tensor) -> list[Any]:
    """The nodes of the graph behind a tensor, each once."""
    nodes: list[Any] = []
    seen: set[object] = set()
    left = [logits.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes.append(node)
        left += [following for following, _ in node.next_functions]
    return nodes


def _forward(net: nn.Module, images: Tensor) -> Tensor:
    with _uncompiled(), use_seed(0), seeded_like_torch(0):
        logits = net(images.clone())
    if not isinstance(logits, Tensor):
        raise TypeError(type(logits).__name__)
    return logits


def _uncompiled() -> AbstractContextManager[object]:
    # to compile a copy takes longer than all proofs
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
