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
        self.features, channels = _features(channels, blocks, last_pool=last_pool)
        self.hidden = nn.Sequential()
        if hidden is not None:
            self.hidden = nn.Sequential(nn.Linear(channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU())
            channels = hidden
        self.linear = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W) of at least 2^p x 2^p pixels, with p max-pools."""
        x = self.features(self.normalise(images))
        return self.linear(self.hidden(x.mean((2, 3))))  # type: ignore[no-any-return]


class VGGLinear(nn.Module):
    """Blocks as those of `VGG`, pooling to 2 x 2 and three linear layers with ReLU between them.

    The VGG-16 of the adversarial pruning benchmark (Piras et al. 2024, arXiv 2409.01249) and of HYDRA; names
    of parameters are theirs.

    units: of both hidden layers.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        blocks: Sequence[Sequence[int]],
        units: int,
        normalise: Normalise,
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.features, channels = _features(channels, blocks, last_pool=False)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Linear(4 * channels, units),
            nn.ReLU(inplace=True),
            nn.Linear(units, units),
            nn.ReLU(inplace=True),
            nn.Linear(units, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W) of at least 32 x 32 pixels."""
        x = self.avgpool(self.features(self.normalise(images)))
        return self.classifier(x.flatten(1))  # type: ignore[no-any-return]


def _features(
    channels: int, blocks: Sequence[Sequence[int]], *, last_pool: bool
) -> tuple[nn.Sequential, int]:
    """The convolutions, and the number of channels that they make."""
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
    return nn.Sequential(*layers), channels
