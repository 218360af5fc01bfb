"""FGSM-RS: one gradient step from a random point of the ball ("fast adversarial training")."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robust_tickets import attacks
from robust_tickets.recipe.schema import Positive
from robust_tickets.training.methods.base import Batch, Networks, run_attack
from robust_tickets.training.methods.cross_entropy import CrossEntropyMethod

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FGSMRSSettings:
    """The training attack of method fgsm_rs."""

    alpha: Positive = 1.25
    """step size as a share of eps"""


class FGSMRS(CrossEntropyMethod):
    """One step of 1.25 eps from a uniform point of the ball, projected onto it.

    Wong et al. 2020, "Fast is better than free: Revisiting adversarial training", algorithm 3:

        d ~ U(-eps, eps),   x' = project(x + d + alpha eps sign(dCE(f_w(x + d), y) / dx))

    A long or strong training overfits to it (catastrophic overfitting): watch the monitor, or take N-FGSM.
    """

    Settings = FGSMRSSettings
    settings: FGSMRSSettings

    def attack_steps(self) -> int:
        return 1

    def perturb(self, nets: Networks, batch: Batch) -> "Tensor":
        size = self.settings.alpha * batch.threat.eps
        return run_attack(attacks.PGD(batch.threat, steps=1, step_size=size), nets, batch)
