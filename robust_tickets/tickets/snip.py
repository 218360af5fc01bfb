"""SNIP: what the loss would lose with each weight, before any training."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robust_tickets.models.fold import copy_net
from robust_tickets.pruning.mask import prunable


def snip(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The connection sensitivity of each prunable weight on one batch, by parameter name.

    images float (B, C, H, W) in [0, 1], labels int64 (B,). |dL/dc| at c = 1, where c multiplies the weight
    and L is the mean cross-entropy; that is |w dL/dw| (Lee et al. 2019, equations 5 and 6, without the
    division by their sum, which changes no order). In train mode, as the weights are about to be trained; the
    net itself is left as it was.
    """
    twin = copy_net(net).train()
    for parameter in twin.parameters():
        parameter.requires_grad_(True)
    weights = prunable(twin)
    loss = F.cross_entropy(twin(images), labels)
    gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return {
        name: torch.zeros(weight.shape) if gradient is None else (weight * gradient).detach().abs().cpu()
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }
