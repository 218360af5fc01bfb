"""MART: the images that the network gets wrong without an attack count more."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robust_tickets import attacks
from robust_tickets.base.lazy import F, torch
from robust_tickets.base.ledger import Passes
from robust_tickets.recipe.schema import Count, Positive
from robust_tickets.training.methods.base import Batch, Method, Networks, Step, StepPasses, run_attack
from robust_tickets.training.methods.cross_entropy import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MARTSettings:
    """The attack and the loss of method mart."""

    steps: Count = 10
    """gradient steps on the cross-entropy"""
    rel_step: Positive = 0.25
    """step size as a share of eps"""
    weight: Positive = 5.0
    """weight of the KL divergence beside the boosted cross-entropy"""


class MART(Method):
    """Boosted cross-entropy of PGD's images, and a KL divergence that weighs misclassified images more.

    Wang et al. 2020, "Improving Adversarial Robustness Requires Revisiting Misclassified Examples", equations
    11 to 13, p being the softmax of the logits and x' an image of PGD from a uniform point of the ball:

        min_w E [ BCE(p_w(x'), y) + weight KL(p_w(x) || p_w(x')) (1 - p_w(x)_y) ],
        BCE(p, y) = -log p_y - log(1 - max_{k != y} p_k)

    Label smoothing smooths the first term of BCE.
    """

    Settings = MARTSettings
    settings: MARTSettings

    def attack_steps(self) -> int:
        return self.settings.steps

    def passes(self, samples: int, step: Step) -> StepPasses:
        """The attack's steps, then two forward and backward passes."""
        steps = self.settings.steps * samples
        return StepPasses(Passes(steps, steps), Passes(forward=2 * samples, full_backward=2 * samples))

    def perturb(self, nets: Networks, batch: Batch) -> "Tensor":
        size = self.settings.rel_step * batch.threat.eps
        return run_attack(attacks.PGD(batch.threat, steps=self.settings.steps, step_size=size), nets, batch)

    def loss(self, nets: Networks, batch: Batch, adversarial: "Tensor") -> "Tensor":
        clean, other = nets.update(batch.images), nets.update(adversarial)
        labels = batch.labels[:, None]
        wrong = other.scatter(1, labels, -torch.inf).argmax(1, keepdim=True)
        # log(1 - p_k) as a sum over the other classes: near p_k = 1 the difference would lose its digits
        rest = torch.logsumexp(other.scatter(1, wrong, -torch.inf), 1) - torch.logsumexp(other, 1)
        log_clean, log_other = F.log_softmax(clean, 1), F.log_softmax(other, 1)
        divergence = F.kl_div(log_other, log_clean, reduction="none", log_target=True).sum(1)
        doubt = 1 - log_clean.gather(1, labels)[:, 0].exp()
        return cross_entropy(other, batch) - rest.mean() + self.settings.weight * (divergence * doubt).mean()
