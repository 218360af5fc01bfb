"""Questions made of comparisons: a grid of cells, what is claimed, and what the figures say of it."""

from robust_tickets.studies.claims import CLAIMS
from robust_tickets.studies.grid import GRIDS, Cell
from robust_tickets.studies.record import Studied, again
from robust_tickets.studies.study import forecast, study

__all__ = ["CLAIMS", "GRIDS", "Cell", "Studied", "again", "forecast", "study"]
