"""Conv-2, Conv-4 and Conv-6, scaled-down VGGs."""

from collections.abc import Sequence

from torch import Tensor, nn

from robust_tickets.models.normalise import Normalise

CONV6: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256, 256))
"""Channels of Conv-6's 3x3 convolutions (Frankle & Carbin 2019, fig. 2); a max-pool ends a block."""


class ConvN(nn.Module):
    """Blocks of convolutions with ReLU, then two hidden linear layers, each followed by dropout.

    Each max-pool halves the image and drops an odd last row or column. The convolutions have biases; there is
    no BatchNorm.

    shape: of an image, (C, H, W).
    blocks: channels of the convolutions of each block.
    units: of the two hidden linear layers.
    dropout: share of the hidden units dropped in training.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        blocks: Sequence[Sequence[int]],
        units: tuple[int, int],
        dropout: float,
        normalise: Normalise,
    ) -> None:
        super().__init__()
        self.normalise = normalise
        channels, height, width = shape
        layers: list[nn.Module] = []
        for block in blocks:
            for outputs in block:
                layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU(inplace=True)]
                channels = outputs
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        self.features = nn.Sequential(*layers)
        self.fc1 = nn.Linear(channels * height * width, units[0])
        self.fc2 = nn.Linear(units[0], units[1])
        self.fc3 = nn.Linear(units[1], classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W) of at least 2^b x 2^b pixels, with b blocks."""
        x = self.features(self.normalise(images)).flatten(1)
        x = self.dropout(self.fc1(x).relu())
        x = self.dropout(self.fc2(x).relu())
        return self.fc3(x)  # type: ignore[no-any-return]
