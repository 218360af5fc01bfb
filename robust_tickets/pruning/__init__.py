"""Masks, what decides over them, and the cut itself."""

from robust_tickets.pruning.mask import Mask, Masking, prunable
from robust_tickets.pruning.prune import prune
from robust_tickets.pruning.scores import SCORES

__all__ = ["SCORES", "Mask", "Masking", "prunable", "prune"]
