"""Normalisation as a network's first layer, so that eps is in the units of [0, 1]."""

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """(images - mean) / std, one mean and std a channel; images (N, C, H, W) in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images of the same shape."""
        return (images - self.mean) / self.std
