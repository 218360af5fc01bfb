"""What a net is trained on: from a batch of clean images to the images whose loss is minimised."""

from attacks import FGSM, PGD, Attack, ThreatModel
from robust_tickets.base.ledger import Passes
from robust_tickets.recipe.fields import Training


def training_attack(settings: Training, threat: ThreatModel) -> Attack | None:
    """The attack that makes the training images; None for natural training."""
    if settings.method == "natural":
        return None
    if settings.method == "fgsm":
        return FGSM(threat)
    pgd = settings.pgd
    return PGD(threat, steps=pgd.steps, step_size=pgd.rel_step * threat.eps, random_start=pgd.random_start)


def attack_passes(settings: Training) -> Passes:
    """Passes a sample that the training attack takes: one forward and one backward to the input a step."""
    steps = {"natural": 0, "fgsm": 1, "pgd": settings.pgd.steps}[settings.method]
    return Passes(forward=steps, input_backward=steps)


UPDATE_PASSES = Passes(forward=1, full_backward=1)
"""Passes a sample that the update of the weights takes."""
