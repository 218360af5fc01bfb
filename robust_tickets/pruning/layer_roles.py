"""Which of a net's prunable layers comes first, and which gives the logits."""

from dataclasses import dataclass

import torch
from torch import nn

from attacks import eval_mode
from robust_tickets.base.errors import InputError
from robust_tickets.pruning.mask import prunable


@dataclass(frozen=True)
class LayerRoles:
    """Names of weights by what their layers do, as the net runs them.

    `first_conv` is None in a net without convolutions; `linear` are those of linear layers but the output.
    """

    first_conv: str | None
    output: str
    linear: frozenset[str]


def layer_roles(net: nn.Module, shape: tuple[int, int, int]) -> LayerRoles:
    """The roles of a net's weights, seen while one image (C, H, W) passes through it.

    Raises InputError where it passes through no layer that could be pruned.
    """
    weights = {id(weight): name for name, weight in prunable(net).items()}
    order: list[str] = []
    convolutions: list[str] = []

    def note(module: nn.Module, args: object, output: object) -> None:
        name = weights[id(module.weight)]
        order.append(name)
        if not isinstance(module, nn.Linear):
            convolutions.append(name)

    layers = [m for m in net.modules() if id(getattr(m, "weight", None)) in weights]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    like = next(net.parameters())
    try:
        with eval_mode(net), torch.no_grad():
            net(torch.zeros((1, *shape), dtype=like.dtype, device=like.device))
    finally:
        for hook in hooks:
            hook.remove()
    if not order:
        raise InputError(
            "an image passes through no convolution and no linear layer of the net, so there is nothing to "
            "prune: give a net that calls layers such as nn.Conv2d and nn.Linear"
        )
    linear = {weights[id(m.weight)] for m in layers if isinstance(m, nn.Linear)}
    return LayerRoles(convolutions[0] if convolutions else None, order[-1], frozenset(linear - {order[-1]}))
