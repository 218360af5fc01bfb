"""Tickets of networks that torch.nn.utils.prune has pruned, and the other way round."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from robust_tickets.base.errors import InputError
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.tickets.ticket import Ticket

SOURCE = "torch.nn.utils.prune"


def ticket_of(net: nn.Module, shape: tuple[int, int, int]) -> Ticket:
    """The ticket of a pruned network; see `Ticket.from_pruned`."""
    if not isinstance(net, nn.Module):
        raise InputError(f"net is a {type(net).__name__}, expected an nn.Module")
    masks: dict[str, Tensor] = {}
    plain = copy_net(net)
    for path, module, name in list(_pruned(plain)):
        masks[f"{path}.{name}" if path else name] = getattr(module, f"{name}_mask") != 0
        original = getattr(module, f"{name}_orig").detach().clone()
        prune.remove(module, name)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            getattr(module, name).copy_(original)  # pruned values too, as controls need them
    weights = prunable_weights(plain)
    if not masks:
        raise InputError("nothing in the network is pruned: call a function of torch.nn.utils.prune first")
    others = sorted(masks.keys() - weights.keys())
    if others:
        raise InputError(
            f"{others[0]} is pruned, and is no weight of a convolution or linear layer: call "
            "torch.nn.utils.prune.remove on it first"
        )
    full = {name: torch.ones(weight.shape, dtype=torch.bool) for name, weight in weights.items()}
    like = next(plain.parameters())
    try:
        with torch.no_grad():
            classes = plain.eval()(like.new_zeros(1, *shape)).shape[1]
    except Exception as error:  # whatever the network's code raises
        sizes = " x ".join(map(str, shape))
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"the network takes no images of {sizes} ({reason:.150}): give channels, height and width of its "
            "own images"
        ) from error
    mean, std = (0.0,) * shape[0], (1.0,) * shape[0]  # an own network has its normalisation in it
    own = f"{type(net).__module__}:{type(net).__qualname__}"
    model = ModelSpec(own, 1.0, shape, classes, mean, std)
    return Ticket(model, copy_state(plain), Mask(full | masks), {"search": {}}, "", 0, 0, 0, source=SOURCE)


def prune_net(ticket: Ticket, net: nn.Module) -> nn.Module:
    """Prune a network in place; see `Ticket.prune`."""
    ticket.mask.check_canonical(SOURCE)
    ticket.load_into(net)
    for name, entries in ticket.mask.items():
        path, _, weight = name.rpartition(".")
        module = net.get_submodule(path)
        on_device = entries.to(getattr(module, weight).device)
        prune.custom_from_mask(module, weight, on_device)  # type: ignore[no-untyped-call]
    return net


def _pruned(net: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """The modules that are pruned, by their paths, and the names of what is pruned in them."""
    for path, module in net.named_modules():
        for name in list(module._buffers):
            if name.endswith("_mask") and name.removesuffix("_mask") + "_orig" in module._parameters:
                yield path, module, name.removesuffix("_mask")
