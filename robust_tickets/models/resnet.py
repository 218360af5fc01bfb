"""The CIFAR ResNet with 6n + 2 layers."""

from torch import Tensor, nn

from robust_tickets.models.normalise import Normalise


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (N, width, H / stride, W / stride)."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y))
        return (y + self.shortcut(x)).relu()  # type: ignore[no-any-return]


class CifarResNet(nn.Module):
    """ResNet for small images (He et al. 2016, section 4.2): three stages of n blocks, halving the image
    twice.

    With projection shortcuts (their option B), as in Frankle & Carbin 2019: 270K convolution weights at n =
    3.
    """

    def __init__(
        self, channels: int, classes: int, n: int, widths: tuple[int, int, int], normalise: Normalise
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        before = widths[0]
        stages = []
        for stage, width in enumerate(widths):
            blocks = []
            for i in range(n):
                blocks.append(Block(before, width, stride=2 if stage > 0 and i == 0 else 1))
                before = width
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages
        self.linear = nn.Linear(before, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W) of at least 4 x 4 pixels."""
        x = self.bn1(self.conv1(self.normalise(images))).relu()
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))  # type: ignore[no-any-return]
