"""The nets by name, and the net as attacks see it."""

from robust_tickets.models.flops import forward_flops
from robust_tickets.models.fold import Folded, fold, norms_after
from robust_tickets.models.normalise import Normalise
from robust_tickets.models.registry import ModelSpec, build

__all__ = ["Folded", "ModelSpec", "Normalise", "build", "fold", "forward_flops", "norms_after"]
