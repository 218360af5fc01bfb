"""Masks, what decides over them, and the cut itself."""

from robust_tickets.pruning.densities import DENSITIES, layer_counts, random_mask
from robust_tickets.pruning.mask import Mask, Masking, prunable
from robust_tickets.pruning.prune import check_rounds, cut_of_round, prune, prune_by_layer, spared
from robust_tickets.pruning.roles import Roles, roles
from robust_tickets.pruning.scores import SCORES

__all__ = [
    "DENSITIES",
    "SCORES",
    "Mask",
    "Masking",
    "Roles",
    "check_rounds",
    "cut_of_round",
    "layer_counts",
    "prunable",
    "prune",
    "prune_by_layer",
    "random_mask",
    "roles",
    "spared",
]
