"""AWP: the loss is minimised at weights that were moved against it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robust_tickets.base.errors import InputError
from robust_tickets.base.lazy import torch
from robust_tickets.base.random_streams import restored_generators
from robust_tickets.recipe.schema import NotNegative, ShareOrZero
from robust_tickets.training.methods.base import Batch, Method, Networks, Step, StepPasses, steps_before
from robust_tickets.training.wrappers.base import Wrapper

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robust_tickets.recipe.field_names import FieldNames

_TINY = 1e-20  # a layer without a gradient is not moved


@dataclass(frozen=True)
class AWPSettings:
    """Adversarial weight perturbation, over any method."""

    gamma: NotNegative = 0.0
    """size of the perturbation of each layer's weights, as a share of their norm, such as 0.005; 0: none"""
    warmup: ShareOrZero = 0.0
    """share of the steps before it begins"""


class AWP(Wrapper):
    """The method's loss at weights that climb it first, by a step of gamma of each layer's norm.

    Wu et al. 2020, "Adversarial Weight Perturbation Helps Robust Generalization", equations 8 and 10, for the
    method's own loss L on images x' that are attacked at w:

        v_l = gamma |w_l| g_l / |g_l|,   g = dL(w, x') / dw,      w <- w - lr dL(w + v, x') / dw

    for each tensor l of weights with more than one dimension. Pruned weights are not moved. The pass that
    gives g moves no running statistics, and drops the same units as the one at w + v. A method that attacks
    within its update attacks anew there, and whatever it remembers of the update's gradient is of w + v.
    """

    Settings = AWPSettings
    settings: AWPSettings
    switch = "gamma"

    def __init__(self, settings: AWPSettings, inner: Method) -> None:
        super().__init__(settings, inner)
        self._kept: list[tuple[Tensor, Tensor]] = []  # weights, and what they were

    def loss(self, nets: Networks, batch: Batch, adversarial: "Tensor") -> "Tensor":
        if batch.step.number >= self._begin(batch.step.count):
            self._climb(nets, batch, adversarial)
        return self.inner.loss(nets, batch, adversarial)

    def after_backward(self, nets: Networks, batch: Batch) -> None:
        """Put the weights back, bit for bit."""
        with torch.no_grad():
            for weight, value in self._kept:
                weight.copy_(value)
        self._kept = []
        self.inner.after_backward(nets, batch)

    def _climb(self, nets: Networks, batch: Batch, adversarial: "Tensor") -> None:
        weights = [p for p in nets.net.parameters() if p.requires_grad and p.dim() > 1]
        with _restored_buffers(nets.net), restored_generators(), nets.gradients_of(weights):
            torch.autograd.backward(self.inner.loss(nets, batch, adversarial), inputs=weights)
        if nets.masking is not None:
            nets.masking.mask_gradients()
        with torch.no_grad():
            for weight in weights:
                gradient, weight.grad = weight.grad, None
                if gradient is not None:
                    self._kept.append((weight, weight.clone()))
                    scale = self.settings.gamma * weight.norm() / gradient.norm().clamp(min=_TINY)
                    weight.addcmul_(gradient, scale)

    def passes(self, samples: int, step: Step) -> StepPasses:
        """As the method, with the update's passes twice once it has begun."""
        return self._doubled(self.inner.passes(samples, step), step)

    def passes_taken(self, samples: int, step: Step) -> StepPasses:
        return self._doubled(self.inner.passes_taken(samples, step), step)

    def _doubled(self, cost: StepPasses, step: Step) -> StepPasses:
        if step.number >= self._begin(step.count):
            cost.update.add(cost.update)
        return cost

    def schedule_passes(self, samples: int, begin: int, count: int, classes: int) -> StepPasses:
        cost = self.inner.schedule_passes(samples, begin, count, classes)
        first = max(begin, self._begin(count))
        cost.update.add(self.inner.schedule_passes(samples, first, count, classes).update)
        return cost

    def check_length(self, names: "FieldNames", count: int) -> None:
        if self._begin(count) >= count:
            raise InputError(
                f"{names('awp.warmup')} {self.settings.warmup:g} leaves it no step of a schedule of {count}: "
                "choose a smaller share, or a longer schedule"
            )
        super().check_length(names, count)

    def _begin(self, count: int) -> int:
        """The first step that it changes, in a schedule of so many."""
        return steps_before(self.settings.warmup, count)


@contextmanager
def _restored_buffers(net: "nn.Module") -> Iterator[None]:
    """After the block, a network's buffers are as they were, BatchNorm's running statistics among them."""
    buffers = [(module, name, b) for module in net.modules() for name, b in module._buffers.items()]
    values = [None if buffer is None else buffer.clone() for _, _, buffer in buffers]
    yield
    with torch.no_grad():
        for (module, name, buffer), value in zip(buffers, values, strict=True):
            module._buffers[name] = buffer  # a network may assign another one
            if buffer is not None and value is not None:
                buffer.copy_(value)
