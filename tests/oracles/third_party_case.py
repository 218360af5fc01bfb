"""A network that counts its passes and images with its own labels, for attacks of torchattacks."""

import copy

import torch
from torch import Tensor, nn

from attacks import ThreatModel

CLASSES = 5
THREAT = ThreatModel("Linf", 0.1)


class Net(nn.Module):
    """A convolution, BatchNorm and Dropout; counts the samples that pass, both ways."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv, self.bn, self.linear = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(144, classes)
        self.dropout = nn.Dropout(0.5)
        self.forwards = self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        logits = self.linear(self.dropout(self.bn(self.conv(images)).relu().flatten(1)))
        if logits.requires_grad:
            logits.register_hook(self.count)
        return logits

    def count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def right(net: nn.Module, n: int = 4, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Images, and the network's own labels."""
    images = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(3)).to(dtype)
    with torch.no_grad():
        labels = copy.deepcopy(net).eval().to(dtype)(images).argmax(1)
    return images, labels
