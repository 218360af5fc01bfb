"""NuAT: clean and adversarial logits are tied by the nuclear norm of their difference over a batch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robust_tickets import attacks
from robust_tickets.base.lazy import F, torch
from robust_tickets.base.ledger import Passes
from robust_tickets.recipe.schema import Positive, ShareOrZero
from robust_tickets.training.methods.base import Batch, Method, Networks, Step, StepPasses, input_gradient
from robust_tickets.training.methods.cross_entropy import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NuATSettings:
    """The start and the loss of method nuat."""

    weight: Positive = 4.0
    """weight of the nuclear norm at the end of the schedule; it rises linearly from 0"""
    start: ShareOrZero = 0.5
    """size of the noise that the step begins at, as a share of eps"""


class NuAT(Method):
    """Clean cross-entropy, and the nuclear norm of what one step changes in the logits of the batch.

    Sriramanan et al. 2021, "Towards Efficient and Effective Adversarial Training", algorithm 1, for a batch
    X of B images with logits Z = f_w(X), at step t of T with a weight that rises as theirs:

        s = +-start eps,   g = d(CE(f_w(X + s), Y) + a_t weight (t / T) |f_w(X + s) - f_w(X)|_* / B) / ds,
        X' = project(X + s + eps sign(g)),
        min_w CE(f_w(X), Y) + weight (t / T) |f_w(X) - f_w(X')|_* / B

    a_t is 1 in every second step and 0 in the others, so that attacks differ, as in their code. The step is
    made in eval mode, its clean logits included (theirs are of train mode); the update passes clean and
    adversarial images through the network one after the other, in train mode. The norm is of the whole
    batch: with a_t = 1 an image's perturbation depends on the others. On a GPU its singular value
    decomposition waits for the device. Defined for Linf.
    """

    Settings = NuATSettings
    settings: NuATSettings
    norms = ("Linf",)

    def attack_steps(self) -> int:
        return 1

    @property
    def ties_batch(self) -> bool:
        return True

    def passes(self, samples: int, step: Step) -> StepPasses:
        """The attack's step, with clean logits where it needs them, then two forward and backward passes."""
        return _passes(samples, samples * _joint(step))

    def schedule_passes(self, samples: int, begin: int, count: int, classes: int) -> StepPasses:
        return _passes(samples * (count - begin), samples * (count // 2 - begin // 2))

    def perturb(self, nets: Networks, batch: Batch) -> "Tensor":
        from robust_tickets.attacks.noise import uniform

        net, images, eps = nets.attack, batch.images, batch.threat.eps
        signs = uniform(tuple(images.shape[1:]), batch.ids, seed=batch.seed).sub_(0.5).sign_().to(images)
        start = (images + self.settings.start * eps * signs).clamp_(*batch.threat.bounds)
        with attacks.eval_mode(net):
            clean: Tensor | None = None
            if _joint(batch.step):
                with torch.no_grad():
                    clean = net(images)

            def loss(logits: "Tensor") -> "Tensor":
                own = F.cross_entropy(logits, batch.labels, reduction="sum")
                return own if clean is None else own + self._weight(batch.step) * nuclear_norm(logits - clean)

            gradient = input_gradient(net, start, loss)
        return batch.threat.ball(images).step(start, gradient, eps)

    def loss(self, nets: Networks, batch: Batch, adversarial: "Tensor") -> "Tensor":
        clean = nets.update(batch.images)
        change = nuclear_norm(clean - nets.update(adversarial)) / len(clean)
        return cross_entropy(clean, batch) + self._weight(batch.step) * change

    def _weight(self, step: Step) -> float:
        return self.settings.weight * step.progress


def nuclear_norm(matrix: "Tensor") -> "Tensor":
    """The sum of the singular values of a matrix, NaN where it is not finite.

    Its gradient U V^T is finite wherever singular values are equal or zero.
    """
    # LAPACK would raise; the loss is to be NaN, which the monitor reports with its place
    finite = torch.where(matrix.isfinite(), matrix, 0.0)
    norm: Tensor = torch.linalg.matrix_norm(finite, "nuc")
    return norm + 0 * matrix.sum()


def _joint(step: Step) -> bool:
    """Whether the attack of a step climbs the nuclear norm, too."""
    return step.number % 2 == 1


def _passes(samples: int, clean: int) -> StepPasses:
    """Passes of so many samples, for `clean` of which the attack needs clean logits."""
    return StepPasses(Passes(samples + clean, samples), Passes(2 * samples, full_backward=2 * samples))
