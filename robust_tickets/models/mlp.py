"""Fully connected networks that grow by square layers."""

import math

from torch import Tensor, nn

from robust_tickets.models.normalise import Normalise


class MLP(nn.Module):
    """A linear layer, square hidden ones, and one to the logits, with ReLU between them (Zhang 2021).

    shape: of an image, (C, H, W).
    units: of each hidden layer.
    depth: number of square layers.
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: int, units: int, depth: int, normalise: Normalise
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.first = nn.Linear(math.prod(shape), units)
        self.hidden = nn.ModuleList(nn.Linear(units, units) for _ in range(depth))
        self.last = nn.Linear(units, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        x = self.first(self.normalise(images).flatten(1)).relu()
        for layer in self.hidden:
            x = layer(x).relu()
        return self.last(x)  # type: ignore[no-any-return]
