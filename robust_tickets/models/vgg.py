"""VGG-16 with BatchNorm, for small images."""

from collections.abc import Sequence

from torch import Tensor, nn

from robust_tickets.models.normalise import Normalise

VGG16: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the 3x3 convolutions (Simonyan & Zisserman 2015, configuration D); a max-pool ends a block."""


class VGG(nn.Module):
    """Blocks of convolution, BatchNorm and ReLU, mean over what is left of the image, one linear layer."""

    def __init__(
        self, channels: int, classes: int, blocks: Sequence[Sequence[int]], normalise: Normalise
    ) -> None:
        super().__init__()
        self.normalise = normalise
        layers: list[nn.Module] = []
        for block in blocks:
            for width in block:
                # BatchNorm has a shift of its own, so the convolution needs no bias
                layers += [
                    nn.Conv2d(channels, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                ]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.linear = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W) of at least 32 x 32 pixels."""
        x = self.features(self.normalise(images))
        return self.linear(x.mean((2, 3)))  # type: ignore[no-any-return]
