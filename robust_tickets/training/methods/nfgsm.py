"""N-FGSM: one gradient step from strong noise, without a projection onto the ball."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robust_tickets import attacks
from robust_tickets.recipe.schema import NotNegative, Positive
from robust_tickets.training.methods.base import Batch, Networks, label_gradient
from robust_tickets.training.methods.cross_entropy import CrossEntropyMethod

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NFGSMSettings:
    """The training attack of method nfgsm."""

    k: NotNegative = 2.0
    """noise: uniform within k times eps"""
    alpha: Positive = 1.0
    """step size as a share of eps"""


class NFGSM(CrossEntropyMethod):
    """One step of eps from uniform noise, clipped to [0, 1] and not to the ball.

    de Jorge et al. 2022, "Make Some Noise: Reliable and Efficient Single-Step Adversarial Training",
    algorithm 1:

        n ~ U(-k eps, k eps),   x' = x + n + alpha eps sign(dCE(f_w(x + n), y) / dx)

    x + n and x' are clipped to the box of valid pixels and not to the ball, so that x' may lie
    (k + alpha) eps away from x: clipping to the ball would undo the noise, which prevents catastrophic
    overfitting. Defined for Linf.
    """

    Settings = NFGSMSettings
    settings: NFGSMSettings
    norms = ("Linf",)

    def attack_steps(self) -> int:
        return 1

    def perturb(self, nets: Networks, batch: Batch) -> "Tensor":
        from robust_tickets.attacks.noise import uniform

        net, eps, bounds = nets.attack, batch.threat.eps, batch.threat.bounds
        noise = uniform(tuple(batch.images.shape[1:]), batch.ids, seed=batch.seed).mul_(2).sub_(1)
        noisy = (batch.images + (self.settings.k * eps * noise).to(batch.images)).clamp_(*bounds)
        with attacks.eval_mode(net):
            gradient = label_gradient(net, noisy, batch.labels)
        return (noisy + self.settings.alpha * eps * gradient.sign()).clamp_(*bounds)
