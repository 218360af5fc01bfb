"""Ticket transforms: tickets with another init, other positions of their weights, or both.

What they lose against the ticket is what the part that they lack is worth (Frankle & Carbin 2019, section 2;
Frankle et al. 2021, "Pruning Neural Networks at Initialization: Why Are We Missing the Mark?", section 5).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from robust_tickets.base.errors import InputError
from robust_tickets.base.lazy import torch
from robust_tickets.base.random_streams import mask_generator

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robust_tickets.pruning.mask import Mask
    from robust_tickets.tickets.ticket import Ticket

Transform = Callable[["Ticket", "nn.Module", int], "Ticket"]
"""Called with a ticket, a network like its own with another init, and the seed of the positions."""


def reinit(ticket: "Ticket", other: "nn.Module", seed: int) -> "Ticket":
    """The ticket's mask with another init."""
    from robust_tickets.models.weights import copy_state

    return replace(ticket, init=copy_state(other))


def shuffle_layer(ticket: "Ticket", other: "nn.Module", seed: int) -> "Ticket":
    """The ticket's init with as many weights in each layer, at random positions."""
    _check_init(ticket)
    return replace(ticket, mask=shuffle_by_layer(ticket.mask, seed))


def shuffle_net(ticket: "Ticket", other: "nn.Module", seed: int) -> "Ticket":
    """The ticket's init with as many weights in all, at random positions in the layers that were pruned."""
    _check_init(ticket)
    return replace(ticket, mask=shuffle_over_net(ticket.mask, seed))


def random(ticket: "Ticket", other: "nn.Module", seed: int) -> "Ticket":
    """Another init with as many weights in each layer, at random positions."""
    return replace(reinit(ticket, other, seed), mask=shuffle_by_layer(ticket.mask, seed))


def shuffle_channels(ticket: "Ticket", other: "nn.Module", seed: int) -> "Ticket":
    """The ticket's init with as many channels in each group of layers, which ones drawn from the seed.

    Raises InputError for a ticket that prunes other than whole channels.
    """
    from robust_tickets.pruning.channel_groups import channel_groups
    from robust_tickets.pruning.compaction import channel_mask, dead_channels
    from robust_tickets.pruning.mask import Mask

    _check_init(ticket)
    groups, full = channel_groups(other, ticket.model.shape), Mask.full(other)
    kept = tuple(~dead_channels(group, ticket.mask) | bool(group.obstacle) for group in groups)
    if channel_mask(groups, kept, full) != ticket.mask:
        raise InputError("the ticket prunes single weights, not whole channels: shuffle those")
    generator = mask_generator(seed)
    shuffled = tuple(_permute(live, generator) for live in kept)
    return replace(ticket, mask=channel_mask(groups, shuffled, full))


def shuffle_copies(ticket: "Ticket", other: "nn.Module", seed: int) -> "Ticket":
    """The ticket's init with as many weights in each layer, those of copied blocks at random positions.

    Raises InputError for a ticket without copied blocks.
    """
    from robust_tickets.tickets.elastic import copied_modules

    _check_init(ticket)
    copies = tuple(f"{module}." for module in copied_modules(ticket))
    names = [name for name in ticket.mask if name.startswith(copies)]
    if not names:
        raise InputError(f"the ticket of {ticket.model.name} has no copied blocks: stretch it first")
    generator = mask_generator(seed)
    entries = torch.cat([_permute(ticket.mask[name], generator) for name in names])
    return replace(ticket, mask=ticket.mask.with_entries(names, entries))


TRANSFORMS: dict[str, Transform] = {
    "reinit": reinit,
    "shuffle-layer": shuffle_layer,
    "shuffle-net": shuffle_net,
    "random": random,
    "shuffle-channels": shuffle_channels,
    "shuffle-copies": shuffle_copies,
}
"""Ticket transforms by name."""

NEW_INITS = frozenset({"reinit", "random"})
"""Those that start from the other init."""


def shuffle_by_layer(mask: "Mask", seed: int) -> "Mask":
    """A mask with as many weights in each layer, at positions drawn from the seed."""
    generator = mask_generator(seed)
    return mask.with_entries(list(mask), torch.cat([_permute(mask[name], generator) for name in mask]))


def shuffle_over_net(mask: "Mask", seed: int) -> "Mask":
    """A mask with as many weights in all, at positions drawn from the seed; whole layers stay whole.

    Raises InputError where a layer would be left without any.
    """
    names = [name for name, entries in mask.items() if not bool(entries.all())]
    if not names:
        return mask
    entries = torch.cat([mask[name].flatten() for name in names])
    shuffled = mask.with_entries(names, _permute(entries, mask_generator(seed)))
    for name in names:
        if not bool(shuffled[name].any()):
            raise InputError(
                f"shuffled over the network, a mask of density {mask.density:.2g} leaves nothing of {name}, "
                f"which has only {mask[name].numel()} weights: leave ticket-shuffle-net out of compare.arms, "
                "or keep more weights"
            )
    return shuffled


def _check_init(ticket: "Ticket") -> None:
    """Raise InputError for a ticket whose other positions have no weights to start from."""
    if ticket.lacks_pruned:
        raise InputError(
            "the ticket has no pruned weights, as in a file of `ticket export --sparse`, so that other "
            "positions would start from zeros: use the ticket that was exported"
        )


def _permute(entries: "Tensor", generator: "torch.Generator") -> "Tensor":
    return entries.flatten()[torch.randperm(entries.numel(), generator=generator)]
