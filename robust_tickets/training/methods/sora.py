"""SORA: one gradient step whose length follows the measured curvature of the loss."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robust_tickets import attacks
from robust_tickets.base.errors import InputError
from robust_tickets.base.lazy import torch
from robust_tickets.recipe.schema import Positive, Share
from robust_tickets.training.methods.base import Batch, Networks, label_gradient
from robust_tickets.training.methods.cross_entropy import (
    UpdateGradientMethod,
    cross_entropy,
    label_gradient_shares,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SORASettings:
    """The training attack of method sora."""

    alpha: Positive = 2.0
    """largest step size as a share of eps"""
    tolerance: Positive = 0.02
    """lack of alignment of the gradients above which steps get shorter"""
    decay: Share = 0.95
    """of the moving average of the gradients' alignment"""


class SORA(UpdateGradientMethod):
    """One step from uniform noise, each pixel's length random, shorter where the loss is curved.

    "SORA: Free Second-Order Attacks in Fast Adversarial Training", ICML 2026 (arXiv 2606.00738):

        n ~ U(-eps, eps),   g = dCE(f_w(x + n), y) / dx,   u ~ U(0, 1) a pixel,
        x' = x + n + alpha eps min(1, tolerance / (1 - k)) u sign(g)

    clipped to the box of valid pixels and not to the ball. k is a moving average of <sign(g), g'> / |g|_1,
    where g' is the gradient at x' and comes from the update's own backward pass; it begins at 0.99 and is
    held within [-1, 1]. On a linear network k is 1. g is of the network in eval mode and g' of train mode.
    Defined for Linf.

    Where the update smooths labels, g' is shorter than the gradient with hard labels, for two classes by the
    factor c = (t_y - p_y) / (1 - p_y) with the target t_y, and points backwards where c < 0. The mean is then
    that of the agreement over c, each sample with the weight c, and without those of c < 0: taken as it is,
    smoothing would look like curvature, and the steps would shrink to nothing.
    """

    Settings = SORASettings
    settings: SORASettings
    norms = ("Linf",)

    def __init__(self, settings: SORASettings) -> None:
        super().__init__(settings)
        self._alignment: Tensor | None = None
        self._gradient: Tensor | None = None
        self._shares: Tensor | None = None  # the factors c; None: hard labels

    def attack_steps(self) -> int:
        return 1

    def perturb(self, nets: Networks, batch: Batch) -> "Tensor":
        from robust_tickets.attacks.noise import uniform

        net, eps, bounds = nets.attack, batch.threat.eps, batch.threat.bounds
        if self._alignment is None:
            self._alignment = torch.full((), 0.99, device=batch.images.device)
        self._alignment = self._alignment.to(batch.images.device)
        # one draw gives two numbers of 16 bits each
        numbers = uniform(tuple(batch.images.shape[1:]), batch.ids, seed=batch.seed).mul_(2**16)
        lengths = numbers.frac().to(batch.images)
        noise = numbers.floor_().mul_(2.0**-15).sub_(1).to(batch.images)
        noisy = (batch.images + eps * noise).clamp_(*bounds)
        with attacks.eval_mode(net):
            gradient = label_gradient(net, noisy, batch.labels)
        self._gradient = gradient
        share = (self.settings.tolerance / (1 - self._alignment)).clamp(max=1)  # 0.02 / 0 is inf: 1
        step = (self.settings.alpha * eps * share) * lengths
        return (noisy + step * gradient.sign()).clamp_(*bounds)

    def loss(self, nets: Networks, batch: Batch, adversarial: "Tensor") -> "Tensor":
        point = self.begin_update(adversarial)
        logits = nets.update(point)
        self._shares = label_gradient_shares(logits.detach(), batch)
        return cross_entropy(logits, batch)

    def after_backward(self, nets: Networks, batch: Batch) -> None:
        """Measure how well the gradients before and after the step agree."""
        _, gradient = self.images_and_gradient()
        assert self._gradient is not None
        assert self._alignment is not None
        before, after = self._gradient.flatten(1), gradient.flatten(1) * len(batch.labels)
        agreement = (before.sign() * after).sum(1) / before.abs().sum(1).clamp(min=1e-12)
        if self._shares is None:
            mean = batch.group.mean(agreement.mean())
        else:
            forwards = self._shares > 0
            total = batch.group.sum((self._shares * forwards).sum())
            agreed = batch.group.sum((agreement * forwards).sum())
            mean = torch.where(total > 0, agreed / total, self._alignment)
        decay = self.settings.decay
        self._alignment = (decay * self._alignment + (1 - decay) * mean).clamp(-1, 1)
        self._gradient = self._shares = None

    def state_dict(self) -> "dict[str, Tensor]":
        return {} if self._alignment is None else {"alignment": self._alignment}

    def load_state_dict(self, state: "dict[str, Tensor]") -> None:
        super().load_state_dict({name: value for name, value in state.items() if name != "alignment"})
        self._alignment = state.get("alignment")
        if self._alignment is not None and self._alignment.numel() != 1:
            raise InputError("the training state does not fit the method SORA: remove it")
