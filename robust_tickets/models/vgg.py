"""VGGs with BatchNorm, for small images."""

from collections.abc import Sequence

from torch import Tensor, nn

from robust_tickets.models.normalise import Normalise

Blocks = tuple[tuple[int, ...], ...]

VGG11: Blocks = ((64,), (128,), (256, 256), (512, 512), (512, 512))
VGG13: Blocks = ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512))
VGG16: Blocks = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the 3x3 convolutions (Simonyan & Zisserman 2015, configurations A, B and D); a max-pool ends a
block."""

VGG19: Blocks = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)
"""Configuration E; that of Frankle & Carbin (2019, fig. 2) has no fifth max-pool."""


class VGG(nn.Module):
    """Blocks of convolutions with BatchNorm and ReLU, mean over the image and a linear layer.

    blocks: channels of the convolutions of each block; a max-pool ends a block.
    hidden: units of a linear layer with BatchNorm and ReLU before the last one; None: there is none.
    last_pool: whether the last block ends with a max-pool.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        blocks: Sequence[Sequence[int]],
        normalise: Normalise,
        *,
        hidden: int | None = None,
        last_pool: bool = True,
    ) -> None:
        super().__init__()
        self.normalise = normalise
        layers: list[nn.Module] = []
        for block in blocks:
            for i, width in enumerate(block):
                # BatchNorm has a bias, so the convolution needs none
                layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
                if i == len(block) - 1:
                    # before the ReLU, which then has a quarter of the values; values and gradients are the
                    # same to the last bit as with a max-pool after it
                    layers.append(nn.MaxPool2d(2))
                layers.append(nn.ReLU(inplace=True))
                channels = width
        if not last_pool:
            del layers[-2]
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Sequential()
        if hidden is not None:
            self.hidden = nn.Sequential(nn.Linear(channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU())
            channels = hidden
        self.linear = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W) of at least 2^p x 2^p pixels, with p max-pools."""
        x = self.features(self.normalise(images))
        return self.linear(self.hidden(x.mean((2, 3))))  # type: ignore[no-any-return]
