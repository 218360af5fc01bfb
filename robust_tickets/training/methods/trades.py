"""TRADES: clean accuracy and the stability of the output, traded by a weight."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robust_tickets import attacks
from robust_tickets.base.lazy import F, torch
from robust_tickets.base.ledger import Passes
from robust_tickets.recipe.schema import Count, Positive
from robust_tickets.training.methods.base import Batch, Method, Networks, Step, StepPasses, input_gradient
from robust_tickets.training.methods.cross_entropy import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

_NOISE = 0.001  # the KL has no gradient at the image itself


@dataclass(frozen=True)
class TRADESSettings:
    """The attack and the loss of method trades."""

    steps: Count = 10
    """gradient steps on the KL divergence"""
    rel_step: Positive = 0.25
    """step size as a share of eps"""
    beta: Positive = 6.0
    """weight of the KL divergence beside the clean cross-entropy"""


class TRADES(Method):
    """Clean cross-entropy, and beta times the KL divergence of the adversarial outputs from the clean ones.

    Zhang et al. 2019, "Theoretically Principled Trade-off between Robustness and Accuracy", equation 5 and
    algorithm 1, p being the softmax of the logits:

        min_w E [ CE(f_w(x), y) + beta max_{||d|| <= eps} KL(p_w(x) || p_w(x + d)) ]

    The inner maximum begins at x + 0.001 N(0, 1) and takes steps of x' <- project(x' + rel_step eps sign(g)),
    where g is the gradient of the KL; under an L2 threat it is g / ||g||_2. It runs in eval mode; the update
    passes clean and adversarial images through the network one after the other, in train mode.
    """

    Settings = TRADESSettings
    settings: TRADESSettings

    def attack_steps(self) -> int:
        return self.settings.steps

    def passes(self, samples: int, step: Step) -> StepPasses:
        """The attack's clean forward pass and its steps, then two forward and backward passes."""
        steps = self.settings.steps * samples
        return StepPasses(
            attack=Passes(forward=steps + samples, input_backward=steps),
            update=Passes(forward=2 * samples, full_backward=2 * samples),
        )

    def perturb(self, nets: Networks, batch: Batch) -> "Tensor":
        from robust_tickets.attacks.noise import gaussian, uniform

        net, ball = nets.attack, batch.threat.ball(batch.images)
        size = self.settings.rel_step * batch.threat.eps
        with attacks.eval_mode(net):
            with torch.no_grad():
                clean = F.softmax(net(batch.images), 1)
            numbers = uniform(tuple(batch.images.shape[1:]), batch.ids, seed=batch.seed)
            adversarial = batch.images + _NOISE * gaussian(numbers).to(batch.images)
            for _ in range(self.settings.steps):
                gradient = input_gradient(
                    net,
                    adversarial,
                    lambda logits: F.kl_div(F.log_softmax(logits, 1), clean, reduction="sum"),
                )
                adversarial = ball.step(adversarial, gradient, size)
        return adversarial

    def loss(self, nets: Networks, batch: Batch, adversarial: "Tensor") -> "Tensor":
        clean = nets.update(batch.images)
        stability = F.kl_div(
            F.log_softmax(nets.update(adversarial), 1), F.softmax(clean, 1), reduction="batchmean"
        )
        return cross_entropy(clean, batch) + self.settings.beta * stability
