"""LeNet-300-100, a fully connected network."""

import math

from torch import Tensor, nn

from robust_tickets.models.normalise import Normalise


class LeNet300(nn.Module):
    """Two hidden layers of 300 and 100 units with ReLU (LeCun et al. 1998; Frankle & Carbin 2019, fig. 2)."""

    def __init__(
        self, shape: tuple[int, int, int], classes: int, units: tuple[int, int], normalise: Normalise
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.fc1 = nn.Linear(math.prod(shape), units[0])
        self.fc2 = nn.Linear(units[0], units[1])
        self.fc3 = nn.Linear(units[1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        x = self.normalise(images).flatten(1)
        x = self.fc1(x).relu()
        x = self.fc2(x).relu()
        return self.fc3(x)  # type: ignore[no-any-return]
