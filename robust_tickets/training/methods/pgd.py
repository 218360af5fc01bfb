"""PGD training: several gradient steps, each projected onto the ball."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robust_tickets import attacks
from robust_tickets.recipe.schema import Count, Positive
from robust_tickets.training.methods.base import Batch, Networks, run_attack
from robust_tickets.training.methods.cross_entropy import CrossEntropyMethod

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PGDSettings:
    """The training attack of method pgd."""

    steps: Count = 10
    """gradient steps"""
    rel_step: Positive = 0.25
    """step size as a share of eps"""
    random_start: bool = True
    """begin at a uniform point of the ball instead of the image"""


class PGD(CrossEntropyMethod):
    """Several steps, projected onto the ball, from a uniform point of it.

    Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks", equation 2.1:

        min_w E max_{||d|| <= eps} CE(f_w(x + d), y)

    the inner maximum by `steps` steps of x <- project(x + rel_step eps sign(dCE/dx)). One step of 1.25 eps
    from a random start is the fast adversarial training of Wong et al. 2020 ("Fast is better than free").
    """

    Settings = PGDSettings
    settings: PGDSettings

    def attack_steps(self) -> int:
        return self.settings.steps

    def perturb(self, nets: Networks, batch: Batch) -> "Tensor":
        settings = self.settings
        attack = attacks.PGD(
            batch.threat,
            steps=settings.steps,
            step_size=settings.rel_step * batch.threat.eps,
            random_start=settings.random_start,
        )
        return run_attack(attack, nets, batch)


def usual_rel_step(steps: int) -> float:
    """The size of so many steps as a share of eps: together twice eps, and each at least 0.25."""
    return max(2 / steps, 0.25)
