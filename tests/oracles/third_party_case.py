"""A network, and images with its own labels, for attacks of torchattacks."""

import copy

import torch
from torch import Tensor, nn

from robust_tickets.attacks import ThreatModel

CLASSES = 5
THREAT = ThreatModel("Linf", 0.1)


def third_party_net(classes: int = CLASSES) -> nn.Sequential:
    """A convolution, BatchNorm and Dropout, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
        return nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(144, classes)).eval()


def right(net: nn.Module, n: int = 4, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Images, and the network's own labels."""
    images = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(3)).to(dtype)
    with torch.no_grad():
        labels = copy.deepcopy(net).eval().to(dtype)(images).argmax(1)
    return images, labels
