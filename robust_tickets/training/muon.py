"""Muon: SGD with momentum, whose steps of the weights of hidden layers are orthogonalised."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.sgd import sgd

from robust_tickets.pruning.layers import prunable_weights

_STEPS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the Newton-Schulz iteration: those of Jordan et al., with the largest slope at 0."""

_TINY = 1e-7  # a gradient of zeros has no direction


class Muon(Optimizer):
    """Momentum whose direction is orthogonalised, for weight matrices; SGD for all other parameters.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks", with Nesterov's momentum
    and decoupled weight decay, as torch.optim.Muon has them:

        B <- m B + G,   O = NewtonSchulz(G + m B),   W <- W - lr (sqrt(max(1, rows / columns)) O + decay W)

    where W has a row an output, and a column a number that the output is computed from; a convolution with
    groups has such a matrix for each of them. O is near U V^T, where U S V^T = G + m B: a layer learns all
    directions equally fast.

    parameters: all that are trained.
    weights: those of them that are matrices, each with the groups of its convolution, or 1.
    lr: learning rate of the matrices; other_lr: that of all other parameters.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        weights: Mapping[Tensor, int],
        *,
        lr: float,
        other_lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        self._groups = dict(weights)
        others = [parameter for parameter in parameters if parameter not in self._groups]
        # `scale`: the rate of a group as a share of the one that a schedule gives, which is `other_lr`'s
        groups: list[dict[str, Any]] = [
            {"params": list(self._groups), "lr": lr, "scale": lr / other_lr, "orthogonal": True},
            {"params": others, "lr": other_lr, "scale": 1.0, "orthogonal": False},
        ]
        defaults = {"momentum": momentum, "weight_decay": weight_decay}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step. Parameters without a gradient stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            gradients = [parameter.grad for parameter in parameters]
            momentum = group["momentum"]
            buffers: list[Tensor | None] = [None] * len(parameters)
            if group["orthogonal"]:
                gradients = [self._direction(weight, momentum) for weight in parameters]
                momentum = 0.0
            elif momentum:
                buffers = [self.state[parameter].get("momentum_buffer") for parameter in parameters]
            sgd(
                parameters,
                gradients,
                buffers,
                has_sparse_grad=False,
                weight_decay=group["weight_decay"],
                momentum=momentum,
                lr=group["lr"],
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            if momentum:
                for parameter, buffer in zip(parameters, buffers, strict=True):
                    self.state[parameter]["momentum_buffer"] = buffer
        return loss

    def _direction(self, weight: Tensor, momentum: float) -> Tensor:
        """The orthogonalised direction of a weight, shaped like it."""
        gradient, state = weight.grad, self.state[weight]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        buffer = state["momentum_buffer"].mul_(momentum).add_(gradient)
        matrices = gradient.add(buffer, alpha=momentum).reshape(self._groups[weight], -1, weight[0].numel())
        rows, columns = matrices.shape[1:]
        direction = orthogonalised(matrices) * math.sqrt(max(1.0, rows / columns))
        return direction.reshape(weight.shape)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Nearly U V^T of each matrix U S V^T: singular values of 0.7 to 1.2 in place of all but tiny ones.

    matrices: (N, rows, columns).

    Five steps of the Newton-Schulz iteration X <- a X + b X X^T X + c (X X^T)^2 X, from X / |X|. They are
    taken by the smaller Gram matrix: X after some steps is P X, and its Gram matrix P (X X^T) P.
    """
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if is_tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=_TINY)
    gram, product = x @ x.mT, None
    a, b, c = _COEFFICIENTS
    for step in range(_STEPS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        product = factor if product is None else factor @ product
        if step < _STEPS - 1:
            gram = factor @ gram @ factor
    assert product is not None
    x = product @ x
    result: Tensor = x.mT if is_tall else x
    return result


def hidden_weights(net: nn.Module, output: str) -> dict[Tensor, int]:
    """The weights of a network's convolutions and linear layers but for its output layer, with their groups.

    output: name of the weight of the output layer.
    """
    groups = {
        id(getattr(layer, "weight", None)): layer.groups
        for layer in net.modules()
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    }
    return {
        weight: groups.get(id(weight), 1)
        for name, weight in prunable_weights(net).items()
        if name != output and weight.requires_grad
    }
