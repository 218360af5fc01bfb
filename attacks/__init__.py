"""Adversarial attacks with one interface, usable without the rest of the project.

    attack = PGD(ThreatModel("Linf", 8 / 255), steps=10, step_size=2 / 255)
    adversarial = attack(net, images, labels, seed=0)

An attack is built without a net and then called on one: any callable that maps images (N, C, H, W) in
[0, 1] to logits (N, K).
"""

from attacks.adapter import TorchAttack
from attacks.apgd import APGD, APGDTargeted
from attacks.attack import Attack, AttackResult, inspected, misclassified
from attacks.blocks import InputError
from attacks.bookmark import Bookmark
from attacks.ensemble import Ensemble, autoattack
from attacks.fgsm import FGSM
from attacks.pgd import PGD
from attacks.square import Square
from attacks.text import parse
from attacks.threat import ThreatModel

__all__ = [
    "APGD",
    "FGSM",
    "PGD",
    "APGDTargeted",
    "Attack",
    "AttackResult",
    "Bookmark",
    "Ensemble",
    "InputError",
    "Square",
    "ThreatModel",
    "TorchAttack",
    "autoattack",
    "inspected",
    "misclassified",
    "parse",
]
