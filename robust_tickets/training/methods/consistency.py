"""Methods that take one step from a start of their own, and keep the logits of both ends close together."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robust_tickets import attacks
from robust_tickets.base.lazy import F, torch
from robust_tickets.base.ledger import Passes
from robust_tickets.training.methods.base import Batch, Method, Networks, Step, StepPasses
from robust_tickets.training.methods.cross_entropy import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ConsistencySettings:
    """What methods of this family have in common."""

    constant_start: bool = False
    """hold the logits at the start constant: they come from the attack, in eval mode, and no gradient goes
    through them, which makes a step of 5 passes a sample from one of 7"""


class ConsistencyMethod(Method):
    """One step of eps from a start s within the ball, and a term that ties the logits before and after it.

        z_0 = f_w(x + s),   d = project(s + eps sign(dCE(z_0, y) / ds)),   z_1 = f_w(x + d),
        min_w E [ CE(z_1, y) + weight D(z_0, z_1) ]

    A subclass gives s, D and its weight. The gradient to the image and that to the weights share one forward
    pass at the start, in train mode, so that the step is made within the update.
    """

    norms = ("Linf",)
    settings: ConsistencySettings

    def __init__(self, settings: ConsistencySettings) -> None:
        super().__init__(settings)
        self._constant_logits: Tensor | None = None
        self._end: Tensor | None = None
        self._gradient: Tensor | None = None

    @abstractmethod
    def start(self, nets: Networks, batch: Batch) -> "Tensor":
        """Where the step begins: a perturbation of each image (B, C, H, W), within the ball."""

    @abstractmethod
    def divergence(self, first: "Tensor", second: "Tensor") -> "Tensor":
        """How far apart the logits (B, classes) at the start and after the step are, a scalar."""

    @abstractmethod
    def weight(self, step: Step) -> float:
        """The weight of the divergence in a step."""

    def observe(self, batch: Batch, gradient: "Tensor") -> None:
        """Called once a step with the gradient of the loss to each image at the start (B, C, H, W)."""

    def attack_steps(self) -> int:
        return 1

    def passes(self, samples: int, step: Step) -> StepPasses:
        """A forward pass at each end, a backward pass to the image, and one or two full ones."""
        if self.settings.constant_start:
            return StepPasses(Passes(samples, samples), Passes(forward=samples, full_backward=samples))
        return StepPasses(Passes(), Passes(2 * samples, samples, 2 * samples))

    def perturb(self, nets: Networks, batch: Batch) -> "Tensor":
        begin = (batch.images + self.start(nets, batch)).clamp_(*batch.threat.bounds)
        if not self.settings.constant_start:
            return begin
        net = nets.attack
        with attacks.eval_mode(net), torch.enable_grad():
            point = begin.requires_grad_(True)
            logits = net(point)
            self._gradient = _image_gradient(logits, point, batch)
        self._constant_logits = logits.detach()
        return self._step(batch, point.detach())

    def loss(self, nets: Networks, batch: Batch, adversarial: "Tensor") -> "Tensor":
        if self._constant_logits is not None:
            first = self._constant_logits
        else:
            point = adversarial.detach().requires_grad_(True)
            first = nets.update(point)
            self._gradient = _image_gradient(first, point, batch, retain_graph=True)
            adversarial = self._step(batch, point.detach())
        self._end = adversarial.detach()
        second = nets.update(adversarial)
        return cross_entropy(second, batch) + self.weight(batch.step) * self.divergence(first, second)

    def images_of_update(self, adversarial: "Tensor") -> "Tensor":
        assert self._end is not None
        return self._end

    def after_backward(self, nets: Networks, batch: Batch) -> None:
        assert self._gradient is not None
        self.observe(batch, self._gradient)
        self._constant_logits = self._gradient = None

    def _step(self, batch: Batch, point: "Tensor") -> "Tensor":
        assert self._gradient is not None
        return batch.threat.ball(batch.images).step(point, self._gradient, batch.threat.eps)


def _image_gradient(logits: "Tensor", point: "Tensor", batch: Batch, retain_graph: bool = False) -> "Tensor":
    """The gradient of each image's own loss; of hard labels, since smoothed ones may turn it round."""
    loss = F.cross_entropy(logits, batch.labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, point, retain_graph=retain_graph)
    return gradient
