"""Adversarial attacks with one interface, usable without the rest of the project.

    attack = PGD(ThreatModel("Linf", 8 / 255), steps=10, step_size=2 / 255)
    adversarial = attack(net, images, labels, seed=0)

An attack is built without a network and then called on one: any callable that maps images (N, C, H, W) in
[0, 1] to logits (N, K).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attacks.adapter import TorchAttack
    from attacks.apgd import APGD, APGDTargeted
    from attacks.attack import Attack
    from attacks.ensemble import Ensemble, autoattack
    from attacks.errors import InputError
    from attacks.fgsm import FGSM
    from attacks.network import eval_mode, misclassified
    from attacks.pgd import PGD
    from attacks.square import Square
    from attacks.task import AttackResult, RunOptions
    from attacks.text import parse
    from attacks.threat import ThreatModel

_MODULES = {
    "adapter": ("TorchAttack",),
    "apgd": ("APGD", "APGDTargeted"),
    "attack": ("Attack",),
    "ensemble": ("Ensemble", "autoattack"),
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
    "autoattack",
    "eval_mode",
    "misclassified",
    "parse",
]


def __getattr__(name: str) -> Any:
    """Import a name's module at its first use, as `attacks.errors` is needed where torch is not."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"attacks.{_MODULE_OF[name]}"), name)
