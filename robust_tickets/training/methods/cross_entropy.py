"""Methods that minimise the cross-entropy of their images."""

from typing import TYPE_CHECKING

from robust_tickets.base.lazy import F
from robust_tickets.base.ledger import Passes
from robust_tickets.training.methods.base import Batch, Method, Networks, Step, StepPasses

if TYPE_CHECKING:
    from torch import Tensor


class CrossEntropyMethod(Method):
    """A method that minimises the mean cross-entropy of its images; a family adds the attack."""

    def loss(self, nets: Networks, batch: Batch, adversarial: "Tensor") -> "Tensor":
        return cross_entropy(nets.update(adversarial), batch)

    def passes(self, samples: int, step: Step) -> StepPasses:
        """A forward and a backward pass to the image a step of the attack, and the update's two passes."""
        steps = self.attack_steps() * samples
        return StepPasses(Passes(steps, steps), Passes(forward=samples, full_backward=samples))


class UpdateGradientMethod(CrossEntropyMethod):
    """A method that uses the gradient to its images from the update's own backward pass."""

    _point: "Tensor | None" = None

    def begin_update(self, adversarial: "Tensor") -> "Tensor":
        """The images for the update's forward pass, which remember their gradient."""
        self._point = adversarial.detach().requires_grad_(True)
        return self._point

    def loss(self, nets: Networks, batch: Batch, adversarial: "Tensor") -> "Tensor":
        return super().loss(nets, batch, self.begin_update(adversarial))

    def rescale(self, factor: "Tensor") -> None:
        """Multiply the gradient to the images, of a loss that was scaled before the backward pass."""
        if self._point is not None and self._point.grad is not None:
            self._point.grad.mul_(factor)

    def images_and_gradient(self) -> "tuple[Tensor, Tensor]":
        """The images of the update and the gradient of its loss to them, once after the backward pass."""
        point, self._point = self._point, None
        assert point is not None
        assert point.grad is not None
        return point.detach(), point.grad


def cross_entropy(logits: "Tensor", batch: Batch) -> "Tensor":
    """The mean cross-entropy (B, classes) -> scalar that an update minimises, with smoothed labels if any."""
    return F.cross_entropy(logits, batch.labels if batch.targets is None else batch.targets)


def label_gradient_shares(logits: "Tensor", batch: Batch) -> "Tensor | None":
    """How long the gradient of the smoothed loss is beside that of hard labels, (B,); None: labels are hard.

    (t_y - p_y) / (1 - p_y) with the target t_y of the label, which is exact for two classes. Below 0 the
    gradient points backwards.
    """
    if batch.targets is None:
        return None
    labels = batch.labels[:, None]
    p, t = logits.softmax(1).gather(1, labels), batch.targets.gather(1, labels)
    return ((t - p) / (1 - p).clamp(min=1e-12)).squeeze(1)
