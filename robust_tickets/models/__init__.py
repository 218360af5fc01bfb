"""The nets by name, and the net as attacks see it."""

from robust_tickets.models.fingerprint import function_print, weights_print
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.fold import Folded, copied, fold, norms_after
from robust_tickets.models.init import INITS, initialise
from robust_tickets.models.normalise import Normalise
from robust_tickets.models.own import Make, build_own, check_logits, imported, made, own_name
from robust_tickets.models.registry import ModelSpec, build, names
from robust_tickets.models.resize import resize

__all__ = [
    "INITS",
    "Folded",
    "Make",
    "ModelSpec",
    "Normalise",
    "build",
    "build_own",
    "check_logits",
    "copied",
    "fold",
    "forward_flops",
    "function_print",
    "imported",
    "initialise",
    "made",
    "names",
    "norms_after",
    "own_name",
    "resize",
    "weights_print",
]
