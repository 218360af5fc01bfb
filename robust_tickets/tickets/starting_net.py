"""The network that a training starts from: a whole one, or that of a ticket without its dead channels."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.layers import Shape
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.fields import Compute
from robust_tickets.tickets.compact_net import compact_net
from robust_tickets.tickets.ticket import Ticket


@dataclass(frozen=True)
class StartingNet:
    """A network to be trained.

    net: the network.
    mask: its mask; None for a dense one.
    removed_channels: how many of its channels were removed.
    """

    net: nn.Module
    mask: Mask | None = None
    removed_channels: int = 0


def starting_net(
    net: nn.Module,
    ticket: Ticket | None,
    shape: Shape,
    compute: Compute,
    log: Callable[[str], None] = lambda text: None,
) -> StartingNet:
    """Rewind a network to a ticket, in place, and remove its dead channels; without a ticket, `net` as it is.

    net: a network of the ticket's architecture.
    ticket: the ticket; one that prunes nothing gives a dense network.
    shape: channels, height and width of an image.
    compute: whether to remove dead channels.
    log: called with the reason where the dead channels of a ticket of single weights cannot be removed.

    Raises InputError for a ticket that does not fit the network, and for a structured one whose channels
    cannot be removed.
    """
    if ticket is None:
        return StartingNet(net)
    ticket.load_into(net)
    if ticket.mask.count == ticket.mask.size:
        return StartingNet(net)
    if not compute.compact or not ticket.mask.has_dead_channels:
        return StartingNet(net, ticket.mask)
    try:
        small = compact_net(net, ticket.mask, shape)
    except InputError as error:
        if ticket.search["search"].get("granularity") == "channel":
            raise
        log(f"dead channels stay: {error}")
        return StartingNet(net, ticket.mask)
    return StartingNet(small.net, small.mask, small.plan.removed_channels)
