"""Tickets: what they are, and how they are found."""

from robust_tickets.tickets.begun import Begun, begun
from robust_tickets.tickets.compacted import Compacted, compacted
from robust_tickets.tickets.controls import CONTROLS
from robust_tickets.tickets.layers import compared, layers, overlap, shown
from robust_tickets.tickets.narrow import kept_flops, narrowed
from robust_tickets.tickets.plain import export_ticket
from robust_tickets.tickets.search import Found, find_ticket
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.tickets.verified import verify

__all__ = [
    "CONTROLS",
    "Begun",
    "Compacted",
    "Found",
    "Ticket",
    "begun",
    "compacted",
    "compared",
    "export_ticket",
    "find_ticket",
    "kept_flops",
    "layers",
    "narrowed",
    "overlap",
    "shown",
    "verify",
]
