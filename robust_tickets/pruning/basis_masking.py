"""A mask of coefficients applied to a network in training: a projection of gradients and weights a step."""

import torch
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import Masking

_DRIFT = 1e-5
"""Largest part of a weight outside the basis, as a share of the weight: float32 rounds a projection."""


class BasisMasking(Masking):
    """Holds each layer's weight in the span of the coefficients that its mask keeps.

    Exactly the training of these coefficients by SGD; layers that are whole are left alone.
    """

    def __init__(self, net: nn.Module, mask: Mask) -> None:
        super().__init__(net, mask, {}, companions_of_dead=False)
        assert mask.basis is not None
        self._basis = mask.basis
        self._pruned = {name: pair for name, pair in self.weights.items() if not bool(mask[name].all())}

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Project the gradients."""
        for name, (weight, mask) in self._pruned.items():
            if weight.grad is not None:
                weight.grad.copy_(self._basis.project(name, weight.grad, mask))

    @torch.no_grad()
    def mask_parameters(self) -> None:
        """Project the weights."""
        for name, (weight, mask) in self._pruned.items():
            weight.copy_(self._basis.project(name, weight, mask))

    @torch.no_grad()
    def check(self) -> None:
        """Raise InputError where a weight has left the span, as if the network wrote its weights."""
        for name, (weight, mask) in self._pruned.items():
            outside = weight - self._basis.project(name, weight, mask)
            if bool(outside.norm() > _DRIFT * weight.norm()):
                raise InputError(
                    f"{name} has left the span of its coefficients: something besides the optimiser changes "
                    "the network's weights; let it leave them alone"
                )
