"""A small network, images on which Square breaks some samples, and a network that keeps its queries."""

import torch
from small_nets import conv_net
from torch import Tensor, nn

from attacks import Square, ThreatModel
from attacks.losses import margin

THREATS = {"Linf": ThreatModel("Linf", 0.03), "L2": ThreatModel("L2", 0.3)}
N, SHAPE = 24, (3, 9, 7)
QUERIES = 40


class Watched(nn.Module):
    """Keeps the images of all queries, counts them, and has no gradients."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.queries: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.queries.append(images)
        return self.net(images.detach()).detach()

    @property
    def forwards(self) -> int:
        return sum(len(images) for images in self.queries)


def square_net() -> nn.Module:
    """A convolution and a linear layer in float64."""
    return conv_net(*SHAPE[1:], 5)


def square_batch(net: nn.Module) -> tuple[Tensor, Tensor]:
    """Images up to the edges of the box; labels are the network's own, so that some break and some do not."""
    generator = torch.Generator().manual_seed(7)
    images = (torch.rand(N, *SHAPE, generator=generator, dtype=torch.float64) * 1.4 - 0.2).clamp(0, 1)
    with torch.no_grad():
        return images, net(images).argmax(1)


def losses(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return margin(net(images), labels)


def queried(attack: Square, net: nn.Module, batch: tuple[Tensor, Tensor], **settings) -> tuple:
    """The images and losses of a run without stops, by query, and its result."""
    watched = Watched(net)
    result = attack.run(watched, *batch, **settings)
    values = torch.stack([losses(net, images, batch[1]) for images in watched.queries])
    return torch.stack(watched.queries), values, result
