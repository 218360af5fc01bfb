"""Controls: tickets of which the init, the places of the weights, or both are drawn anew.

What they lose against the ticket is what the thing they lack is worth (Frankle & Carbin 2019, section 2;
Frankle et al. 2021, "Pruning Neural Networks at Initialization: Why Are We Missing the Mark?", section 5).
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.base.random_streams import mask_generator
from robust_tickets.pruning.mask import Mask
from robust_tickets.tickets.ticket import Ticket

Weights = dict[str, Tensor]


def reinit(ticket: Ticket, init: Weights, seed: int) -> Ticket:
    """The mask with another init."""
    return replace(ticket, init=init)


def shuffle_layer(ticket: Ticket, init: Weights, seed: int) -> Ticket:
    """The init with as many weights of each layer, at places drawn anew."""
    return replace(ticket, mask=shuffle_mask_by_layer(ticket.mask, seed))


def shuffle_net(ticket: Ticket, init: Weights, seed: int) -> Ticket:
    """The init with as many weights in all, at places drawn anew in all layers that were pruned.

    Raises InputError where that leaves a layer without any.
    """
    return replace(ticket, mask=shuffle_mask(ticket.mask, seed))


def random_ticket(ticket: Ticket, init: Weights, seed: int) -> Ticket:
    """Another init with as many weights of each layer, at places drawn anew: the densities are all it has."""
    return reinit(shuffle_layer(ticket, init, seed), init, seed)


CONTROLS: dict[str, Callable[[Ticket, Weights, int], Ticket]] = {
    "ticket-reinit": reinit,
    "ticket-shuffle-layer": shuffle_layer,
    "ticket-shuffle-net": shuffle_net,
    "random": random_ticket,
}
"""The controls by their arms: called with the ticket, another init, and the seed of the places."""


def shuffle_mask_by_layer(mask: Mask, seed: int) -> Mask:
    """A mask with the same number of weights in each layer, the places drawn from the seed."""
    generator = mask_generator(seed)
    return Mask(
        {name: _permuted(kept.flatten(), generator).reshape(kept.shape) for name, kept in mask.items()}
    )


def shuffle_mask(mask: Mask, seed: int) -> Mask:
    """A mask with the same number of weights in all; layers that it kept whole stay whole.

    Raises InputError where a layer would be left without any.
    """
    names = [name for name, kept in mask.items() if not bool(kept.all())]
    if not names:
        return mask
    generator = mask_generator(seed)
    flat = _permuted(torch.cat([mask[name].flatten() for name in names]), generator)
    cut = mask.with_entries(names, flat)
    for name in names:
        if not bool(cut[name].any()):
            raise InputError(
                f"shuffled over the net, a mask of density {mask.density:.2g} leaves nothing of {name}, "
                f"which has only {mask[name].numel()} weights: leave ticket-shuffle-net out of compare.arms, "
                "or keep more weights"
            )
    return cut


def _permuted(kept: Tensor, generator: torch.Generator) -> Tensor:
    return kept[torch.randperm(kept.numel(), generator=generator)]
