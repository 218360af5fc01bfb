"""Tickets: what they are, and how they are found."""

from robust_tickets.tickets.controls import CONTROLS
from robust_tickets.tickets.narrow import kept_flops, narrowed_to_flops, narrowed_to_weights
from robust_tickets.tickets.search import Found, find_ticket
from robust_tickets.tickets.ticket import Ticket

__all__ = [
    "CONTROLS",
    "Found",
    "Ticket",
    "find_ticket",
    "kept_flops",
    "narrowed_to_flops",
    "narrowed_to_weights",
]
