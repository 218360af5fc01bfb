"""FGSM training: one gradient step from the image itself."""

from typing import TYPE_CHECKING

from robust_tickets import attacks
from robust_tickets.training.methods.base import Batch, Networks, run_attack
from robust_tickets.training.methods.cross_entropy import CrossEntropyMethod

if TYPE_CHECKING:
    from torch import Tensor


class FGSM(CrossEntropyMethod):
    """One step of eps from the image.

    Goodfellow et al. 2015, "Explaining and Harnessing Adversarial Examples", section 6, without their share
    of clean images:

        min_w E CE(f_w(x'), y),   x' = clip(x + eps sign(dCE(f_w(x), y) / dx))

    Under an L2 threat the step is eps g / ||g||_2.
    """

    def attack_steps(self) -> int:
        return 1

    def perturb(self, nets: Networks, batch: Batch) -> "Tensor":
        return run_attack(attacks.FGSM(batch.threat), nets, batch)
