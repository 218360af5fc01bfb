"""A small network, images that it gets right but for a few, and a network that counts its passes."""

import pytest
import torch
from small_nets import Counted, conv_net
from torch import Tensor, nn

from robust_tickets.data.dataset import Split

N, K = 45, 5


class Exact(nn.Module):
    """A small network in float64 behind images in float32."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.layers = conv_net(6, 6, K, seed)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images.double())


def samples(net: nn.Module, n: int, wrong: int) -> Split:
    """Images with the network's own labels, but for every ninth of the first ones; ids out of order."""
    generator = torch.Generator().manual_seed(7)
    images = torch.randint(256, (n, 3, 6, 6), generator=generator, dtype=torch.uint8)
    with torch.no_grad():
        labels = net(images.float() / 255).argmax(1)
    labels[: 9 * wrong : 9] = (labels[: 9 * wrong : 9] + 1) % K
    return Split(images, labels, torch.randperm(n, generator=generator) + 2**33)


@pytest.fixture(scope="session")
def net() -> Exact:
    return Exact().eval()


@pytest.fixture(scope="session")
def split(net) -> Split:
    return samples(net, N, wrong=4)


@pytest.fixture
def counted():
    """Puts a counter before a network."""
    return Counted


class Colours(nn.Module):
    """A linear network that tells to which of four colours, or in grey of four patterns, an image leans.

    Each sample is robust until eps is the distance it leans by; gradients and random search both find that.
    """

    def __init__(self, channels: int = 3, side: int = 8) -> None:
        super().__init__()
        signs = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
        if channels == 3:
            patterns = signs[:, :, None, None].expand(-1, -1, side, side)
        else:
            half = torch.where(torch.arange(side) < side // 2, 1, -1)
            down, across = half[:, None].expand(side, side), half.expand(side, side)
            patterns = torch.stack([down, -down, across, -across])[:, None]
        self.register_buffer("patterns", patterns.float().contiguous())

    def forward(self, images: Tensor) -> Tensor:
        shares = (images[:, None] - 0.5) * self.patterns
        return 20 * shares.mean((2, 3, 4))

    def split(self, n: int = 100, least: int = 2, most: int = 40) -> Split:
        """Images that lean by between `least` and `most` of 255 levels, all four classes in turn."""
        generator = torch.Generator().manual_seed(5)
        labels = torch.arange(n) % 4
        by = torch.randint(least, most, (n, 1, 1, 1), generator=generator)
        images = 128 + by * self.patterns[labels]
        images += torch.randint(-1, 2, images.shape, generator=generator)
        return Split(images.to(torch.uint8), labels, torch.arange(n) + 10)


@pytest.fixture
def colours():
    """The class of such networks."""
    return Colours
