"""Deep copies of networks, of the user's too, which may keep what cannot be copied."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.gradient_hooks import copy_gradient_hooks
from robust_tickets.models.plain_attributes import plain_objects


def copy_net(net: nn.Module, shared: dict[int, object] | None = None) -> nn.Module:
    """A deep copy of a network; tensors with a graph that it keeps, as its last features, lose theirs.

    Hooks on the gradients of parameters, which may freeze them, are those of the network.

    shared: by their id, objects of the network that are replaced and not copied.
    Raises InputError for a network that cannot be copied.
    """
    try:
        with torch.no_grad(), _without_graphs(net):  # else TorchScript's copies keep a graph to the original
            copied = _copy(net, shared or {})
    except Exception as error:  # objects in the network may raise anything
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]:.100}"
        raise InputError(
            f"the network cannot be copied, as attacks need it ({reason}): keep no files, locks or tensors "
            "computed from parameters in it; after torch.nn.utils.prune, call "
            "torch.nn.utils.prune.remove(layer, 'weight')"
        ) from error
    if shared is None and any(isinstance(module, torch.jit.ScriptModule) for module in net.modules()):
        for own, parameter in zip(net.parameters(), copied.parameters(), strict=True):
            parameter.requires_grad_(own.requires_grad)
    if shared is None:
        for own, parameter in zip(net.parameters(), copied.parameters(), strict=True):
            copy_gradient_hooks(own, parameter)
    return copied


def _copy(net: nn.Module, shared: dict[int, object]) -> nn.Module:
    try:
        return copy.deepcopy(net, dict(shared))
    except RuntimeError:
        kept = graph_tensors(net)
        if not kept:
            raise
    return copy.deepcopy(net, {id(tensor): tensor.detach().clone() for _, tensor in kept} | shared)


def graph_tensors(net: nn.Module) -> list[tuple[str, Tensor]]:
    """The tensors with a graph that a network keeps in attributes, lists and so on, each with its place."""
    objects = [*plain_objects(net), *net.named_buffers()]
    return [(place, v) for place, v in objects if isinstance(v, Tensor) and v.grad_fn is not None]


@contextmanager
def _without_graphs(net: nn.Module) -> Iterator[None]:
    """Within the block, what hooks compute before each pass has no graph, which deepcopy refuses.

    Hooks of weight norm and spectral norm (torch.nn.utils) do so, and those of torch.nn.utils.prune.
    """
    computed = [
        (vars(module), key, value)
        for module in net.modules()
        if getattr(module, "_forward_pre_hooks", None)
        for key, value in vars(module).items()
        if isinstance(value, Tensor) and value.grad_fn is not None
    ]
    try:
        for attributes, key, value in computed:
            attributes[key] = value.detach()
        yield
    finally:
        for attributes, key, value in computed:
            attributes[key] = value
