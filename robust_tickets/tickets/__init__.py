"""Tickets: what they are, and how they are found."""

from robust_tickets.tickets.search import find_ticket
from robust_tickets.tickets.ticket import Ticket

__all__ = ["Ticket", "find_ticket"]
