"""Adversarial attacks with one interface, usable without the rest of the project: `robust_tickets.attacks`.

    attack = PGD(ThreatModel("Linf", 8 / 255), steps=10, step_size=2 / 255)
    adversarial = attack(net, images, labels, seed=0)

An attack is built without a network and then called on one: any callable that maps images (N, C, H, W) in
[0, 1] to logits (N, K).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapter import TorchAttack
    from .apgd import APGD, APGDTargeted
    from .attack import Attack
    from .ensemble import Ensemble, apgd_pair, autoattack
    from .errors import InputError
    from .fgsm import FGSM
    from .network import eval_mode, misclassified
    from .pgd import PGD
    from .square import Square
    from .task import AttackResult, RunOptions
    from .text import parse
    from .threat import ThreatModel

_MODULES = {
    "adapter": ("TorchAttack",),
    "apgd": ("APGD", "APGDTargeted"),
    "attack": ("Attack",),
    "ensemble": ("Ensemble", "apgd_pair", "autoattack"),
    "errors": ("InputError",),
    "fgsm": ("FGSM",),
    "network": ("eval_mode", "misclassified"),
    "pgd": ("PGD",),
    "square": ("Square",),
    "task": ("AttackResult", "RunOptions"),
    "text": ("parse",),
    "threat": ("ThreatModel",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "APGD",
    "FGSM",
    "PGD",
    "APGDTargeted",
    "Attack",
    "AttackResult",
    "Ensemble",
    "InputError",
    "RunOptions",
    "Square",
    "ThreatModel",
    "TorchAttack",
    "apgd_pair",
    "autoattack",
    "eval_mode",
    "misclassified",
    "parse",
]


def __getattr__(name: str) -> Any:
    """Import a name's module at its first use, as `attacks.errors` is needed where torch is not."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
