"""SNIP: what the loss would lose with each weight, before any training."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robust_tickets.models.fold import copy_net
from robust_tickets.pruning.mask import prunable


def snip(net: nn.Module, loss: Callable[[nn.Module], Tensor]) -> dict[str, Tensor]:
    """The connection sensitivity of each prunable weight, by parameter name: Lee et al. 2019.

    net: the network, which is left as it was.
    loss: the loss L of a copy of the network on one batch, a scalar with a graph to its weights.

    |dL/dc| at c = 1, where c multiplies the weight; that is |w dL/dw| (their equations 5 and 6, without the
    division by their sum, which changes no order). In train mode, as the weights are about to be trained.
    """
    twin = copy_net(net).train()
    for parameter in twin.parameters():
        parameter.requires_grad_(True)
    weights = prunable(twin)
    gradients = torch.autograd.grad(loss(twin), list(weights.values()), allow_unused=True)
    return {
        name: torch.zeros(weight.shape) if gradient is None else (weight * gradient).detach().abs().cpu()
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }
