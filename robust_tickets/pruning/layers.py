"""The prunable layers of a network: their weights, their order when it runs, their roles."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robust_tickets.attacks import eval_mode
from robust_tickets.base.errors import InputError
from robust_tickets.models.placement import blank_image
from robust_tickets.models.probe import eager
from robust_tickets.models.trial_pass import graph_nodes

Shape = tuple[int, int, int]
"""Channels, height and width of an image."""


def prunable_weights(net: nn.Module) -> dict[str, Tensor]:
    """Weights of convolutions and linear layers, by parameter name.

    A weight that several layers share is listed once, under its first name. A weight computed from other
    parameters (torch.nn.utils.prune, parametrisations) is no parameter of the network and is left out.
    """
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    layers = (m for m in net.modules() if isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)))
    return {names[id(layer.weight)]: layer.weight for layer in layers if id(layer.weight) in names}


def has_own_forward(layer: nn.Module) -> bool:
    """Whether a layer is of a subclass that computes otherwise than PyTorch's, as by standardised weights."""
    base = next((c for c in (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear) if isinstance(layer, c)), None)
    if base is None:
        return False
    kind = type(layer)
    own = any(
        getattr(kind, name, None) is not getattr(base, name, None) for name in ("forward", "_conv_forward")
    )
    return own or "forward" in vars(layer)


@contextmanager
def observe_layers(net: nn.Module, observe: Callable[[str, nn.Module, Tensor], None]) -> Iterator[None]:
    """Within the block, call `observe(weight name, layer, output)` for each prunable layer that runs."""
    weights = {id(weight): name for name, weight in prunable_weights(net).items()}
    # names are looked up beforehand: within torch.func.functional_call layers have other weights
    names = {module: weights.get(id(getattr(module, "weight", None))) for module in net.modules()}

    def hook(layer: nn.Module, args: object, output: Tensor) -> None:
        observe(names[layer] or "", layer, output)

    hooks = [module.register_forward_hook(hook) for module, name in names.items() if name is not None]
    try:
        with eager():
            yield
    finally:
        for handle in hooks:
            handle.remove()


@dataclass(frozen=True)
class LayerRoles:
    """Weight names by the role of their layers.

    first_conv: the first convolution that runs; None in a network without convolutions.
    output: the layer that runs last on the way to the logits.
    linear: the linear layers, the output layer apart.
    frozen: those without requires_grad, which are never pruned.
    """

    first_conv: str | None
    output: str
    linear: frozenset[str]
    frozen: frozenset[str] = frozenset()


def layer_roles(net: nn.Module, shape: Shape) -> LayerRoles:
    """Run one blank image (C, H, W) through a network to see the roles of its layers.

    Raises InputError where the image passes through no prunable layer.
    """
    order: list[str] = []
    nodes: list[object] = []  # of the layers' outputs, in the graph of the image's gradient

    def observe(name: str, layer: nn.Module, output: Tensor) -> None:
        order.append(name)
        nodes.append(getattr(output, "grad_fn", None))

    with observe_layers(net, observe), eval_mode(net), torch.enable_grad():
        logits = net(blank_image(net, shape).requires_grad_().clone())
    path = set(graph_nodes(logits))
    if not order:
        raise InputError(
            "an image passes through no convolution and no linear layer of the network, so there is nothing "
            "to prune: give a network that calls layers such as nn.Conv2d and nn.Linear"
        )
    weights = prunable_weights(net)
    linear = {name for name, weight in weights.items() if weight.ndim == 2}
    frozen = frozenset(name for name, weight in weights.items() if not weight.requires_grad)
    first_conv = next((name for name in order if name not in linear), None)
    # a head whose output is no part of the logits may run last, as a projection for another loss
    output = next((order[i] for i in reversed(range(len(order))) if nodes[i] in path), order[-1])
    return LayerRoles(first_conv, output, frozenset(linear - {output}), frozen)
