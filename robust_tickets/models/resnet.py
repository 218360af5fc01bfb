"""ResNets for small images: those of CIFAR with 6n + 2 layers, and ResNet-18.

As in all convolutional networks here, ReLUs and shortcuts work in place where nothing else reads their input,
which saves a feature map each.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from robust_tickets.models.normalise import Normalise


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

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
        y = self.bn1(self.conv1(x)).relu_()
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return y.relu_()  # type: ignore[no-any-return]


def stages(
    block: Callable[[int, int, int], nn.Module], channels: int, widths: Sequence[int], n: int
) -> list[nn.Sequential]:
    """A stage of n blocks for each width; each stage but the first halves the image.

    block: builds a block from its input channels, output channels and stride.
    channels: input channels of the first stage.
    """
    sequences = []
    for stage, width in enumerate(widths):
        blocks = []
        for i in range(n):
            blocks.append(block(channels, width, 2 if stage > 0 and i == 0 else 1))
            channels = width
        sequences.append(nn.Sequential(*blocks))
    return sequences


class CifarResNet(nn.Module):
    """A 3x3 convolution, stages of n blocks (`layer1`, ...), mean and a linear layer.

    With three stages: the networks of He et al. (2016, section 4.2), with projection shortcuts (their option
    B) as in Frankle & Carbin (2019), 270K convolution weights at n = 3. With four stages of two blocks:
    ResNet-18, with the names and parameters of the common public implementation for CIFAR.
    """

    def __init__(
        self, channels: int, classes: int, n: int, widths: Sequence[int], normalise: Normalise
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layers = [f"layer{i + 1}" for i in range(len(widths))]
        for name, stage in zip(self.layers, stages(Block, widths[0], widths, n), strict=True):
            self.add_module(name, stage)
        self.linear = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W) of at least 2^(s-1) pixels a side, with s stages."""
        x = self.bn1(self.conv1(self.normalise(images))).relu_()
        for name in self.layers:
            x = getattr(self, name)(x)
        return self.linear(x.mean((2, 3)))  # type: ignore[no-any-return]
