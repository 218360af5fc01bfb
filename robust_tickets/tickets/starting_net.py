"""What a training begins from: a whole net, or what a ticket leaves of it."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.channel_groups import Shape
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.fields import Compute
from robust_tickets.tickets.compact_net import compact_net
from robust_tickets.tickets.ticket import Ticket


@dataclass(frozen=True)
class StartingNet:
    """A net, the mask to be kept (None for a dense one), and how many of its channels were removed."""

    net: nn.Module
    mask: Mask | None = None
    removed: int = 0


def starting_net(
    net: nn.Module,
    ticket: Ticket | None,
    shape: Shape,
    compute: Compute,
    say: Callable[[str], None] = lambda text: None,
) -> StartingNet:
    """Rewind a net to a ticket, in place, and leave out what the ticket prunes whole; without one, the net.

    Where nothing is pruned there is no mask to keep, and no step pays for one. A ticket of single weights
    whose net cannot be followed is trained with its zeros, and `say` is told why. Raises InputError for a
    ticket that does not fit, and for one of channels whose net cannot be followed.
    """
    if ticket is None:
        return StartingNet(net)
    ticket.load_into(net)
    if ticket.mask.kept == ticket.mask.size:
        return StartingNet(net)
    if not compute.compact or not ticket.mask.any_dead:
        return StartingNet(net, ticket.mask)
    try:
        small = compact_net(net, ticket.mask, shape)
    except InputError as error:
        if ticket.search["search"].get("granularity") == "channel":
            raise
        say(f"dead channels stay: {error}")
        return StartingNet(net, ticket.mask)
    return StartingNet(small.net, small.mask, small.plan.removed)
