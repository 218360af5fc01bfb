"""Checks that a ticket is what its file claims."""

from dataclasses import replace

import torch

from robust_tickets.base.errors import InputError
from robust_tickets.models.user_net import NetFactory, make_net
from robust_tickets.models.weights import copy_state
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.pruning_methods import make_pruning_method
from robust_tickets.tickets.connectivity import check_paths
from robust_tickets.tickets.ticket import Ticket


def ticket_net(ticket: Ticket, make: NetFactory | None = None) -> torch.nn.Module:
    """A fresh network of the ticket's architecture, initialised by the ticket's seed.

    make: makes the network, where it is the user's own: code is never imported because a file names it.

    Raises InputError where `make` is needed and missing.
    """
    if make is None and ":" in ticket.model.name:
        raise InputError(
            f"the ticket is of {ticket.model.name}, and no code is run because a file names it: name the "
            f"function that makes the network yourself, --model.name {ticket.model.name}"
        )
    return make_net(ticket.model, make, seed=ticket.seed)


def verify(ticket: Ticket, make: NetFactory | None = None) -> list[str]:
    """Check a ticket whose file was read; gives a line for each thing that is right.

    Reading has compared the content with its hash. Here the ticket is loaded into its network, a path is
    sought through the mask, and the init is compared with what the seed draws, where it starts from that.
    `make` is as in `ticket_net`. Raises InputError with the first thing that is wrong.
    """
    net = ticket_net(ticket, make)
    init = copy_state(net)
    lines = [f"content matches the hash {ticket.hash}"]
    ticket.load_into(net)
    lines.append(f"fits {ticket.model.name}: {len(ticket.init)} tensors, {len(ticket.mask)} masks")
    check_paths(net, ticket.mask, ticket.model.shape)
    lines.append(
        f"keeps {ticket.mask.count:,} of {ticket.mask.size:,} "
        f"{'weights' if ticket.mask.basis is None else 'coefficients'}, and a path through the network"
    )
    search = recipes.from_table(ticket.search).search
    if ticket.source:
        lines.append(f"starts from the weights that {ticket.source} had")
    elif ticket.copies:
        lines.append(f"has copies of blocks of ticket {ticket.copies[-1]['source']}: verify that one too")
    elif _same(ticket.init, init):
        lines.append(f"starts from the init of seed {ticket.seed}, bit for bit")
    elif _same(ticket.init, replace(ticket, init=init).without_pruned().init):
        lines.append(f"starts from the init of seed {ticket.seed}, bit for bit, without its pruned weights")
    elif _same({name: ticket.init[name] for name, _ in net.named_parameters()}, init):
        lines.append(f"starts from the weights of seed {ticket.seed}, bit for bit, and buffers of its search")
    elif (
        search.rewind_iterations or search.rewind_epochs or make_pruning_method(search).keeps_trained_weights
    ):
        lines.append("starts from trained weights, which the seed alone does not give")
    else:
        lines.append(
            f"starts from other weights than this machine's PyTorch draws for seed {ticket.seed}: those of a "
            "control, of a module that was passed in, or of another PyTorch release"
        )
    return lines


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether the tensors of `one` are in `other` with the same values."""
    return all(torch.equal(value, other[name]) for name, value in one.items())
