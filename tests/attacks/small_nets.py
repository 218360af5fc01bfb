"""A small network that attacks break on some images and not on others, and one that counts its passes."""

import torch
from torch import Tensor, nn

from robust_tickets.attacks import ThreatModel

N, SHAPE, K = 24, (3, 5, 5), 5
THREATS = {"Linf": ThreatModel("Linf", 0.03), "L2": ThreatModel("L2", 0.2)}


def conv_net(height: int, width: int, classes: int, seed: int = 0) -> nn.Module:
    """A convolution and a linear layer in float64, for images of 3 channels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hidden = 6 * (height - 2) * (width - 2)
        layers = nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(hidden, classes)
        return nn.Sequential(*layers).double()


def labelled(net: nn.Module, n: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Random images with the labels that the network gives them."""
    generator = torch.Generator().manual_seed(7)
    images = torch.rand(n, 3, height, width, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        return images, net(images).argmax(1)


class Counted(nn.Module):
    """Counts the samples that go forward through a network and back, and lists the sizes of its batches."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.forwards = self.backwards = 0
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        self.sizes.append(len(images))
        logits = self.net(images)
        if logits.requires_grad:
            logits.register_hook(self._back)
        return logits

    def _back(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)

    @property
    def passes(self) -> tuple[int, int]:
        """Both."""
        return self.forwards, self.backwards
