"""Whether a ticket is what it says."""

import torch

from robust_tickets.base.errors import InputError
from robust_tickets.models.user_net import NetFactory, make_net
from robust_tickets.recipe import recipe as recipes
from robust_tickets.tickets.connectivity import check_paths
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.state import copy_state


def net_of(ticket: Ticket, make: NetFactory | None = None) -> torch.nn.Module:
    """A fresh net that the ticket is of, initialised by its seed; `make` makes a net of the user's own.

    Raises InputError where a net of the user's own needs `make`: what a file names is never imported.
    """
    if make is None and ":" in ticket.model.name:
        raise InputError(
            f"the ticket is one of {ticket.model.name}, and no code is run because a file names it: name the "
            f"function that makes the net yourself, --model.name {ticket.model.name}"
        )
    return make_net(ticket.model, make, seed=ticket.seed)


def verify(ticket: Ticket, make: NetFactory | None = None) -> list[str]:
    """What was found right of a ticket whose file was read, a line each.

    Loading it has held its content against its hash. Here it is planted into its net, a path is sought
    through its mask, and its init is held against what its seed draws, where it begins from that. Raises
    InputError with the first thing that is wrong.
    """
    net = net_of(ticket, make)
    drawn = copy_state(net)
    lines = [f"content matches the hash {ticket.hash}"]
    ticket.load_into(net)
    lines.append(f"fits {ticket.model.name}: {len(ticket.init)} tensors, {len(ticket.mask)} masks")
    check_paths(net, ticket.mask, ticket.model.shape)
    lines.append(f"keeps {ticket.mask.kept:,} of {ticket.mask.size:,} weights, and a path through the net")
    search = recipes.from_table(ticket.search).search
    if all(torch.equal(value, drawn[name]) for name, value in ticket.init.items()):
        lines.append(f"begins from the init of seed {ticket.seed}, bit for bit")
    elif search.rewind_iterations or search.rewind_epochs or search.after == "fine-tune":
        lines.append("begins from trained weights, which the seed alone does not give")
    else:
        lines.append(
            f"begins from other weights than this machine's PyTorch draws for seed {ticket.seed}: those of a "
            "control, of a module that was handed over, or of another release"
        )
    return lines
