"""Wide ResNets, WRN-D-K."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from robust_tickets.models.normalise import Normalise
from robust_tickets.models.resnet import stages


class WideBlock(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm and ReLU, and a shortcut.

    Where the shape changes, the shortcut is a 1x1 convolution of the activated input, elsewhere the input.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.convShortcut = None
        if stride != 1 or channels != width:
            self.convShortcut = nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (N, width, H / stride, W / stride)."""
        active = self.bn1(x).relu_()
        y = self.conv2(self.bn2(self.conv1(active)).relu_())
        y += x if self.convShortcut is None else self.convShortcut(active)
        return y  # type: ignore[no-any-return]


class Stage(nn.Module):
    """The blocks of one width, with the names of public checkpoints."""

    def __init__(self, blocks: nn.Sequential) -> None:
        super().__init__()
        self.layer = blocks

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (N, width, H / stride, W / stride)."""
        return self.layer(x)  # type: ignore[no-any-return]


class WideResNet(nn.Module):
    """Three stages of n blocks, of which two halve the image (Zagoruyko & Komodakis 2016): depth 6n + 4.

    Names, forward pass and init are those of the implementation behind TRADES (Zhang et al. 2019):
    convolutions normal with standard deviation sqrt(2 / fan_out), the linear layer's bias zero.

    n: blocks a stage.
    widths: channels of the first convolution and of the three stages.
    """

    def __init__(
        self, channels: int, classes: int, n: int, widths: Sequence[int], normalise: Normalise
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        blocks = stages(WideBlock, widths[0], widths[1:], n)
        self.block1, self.block2, self.block3 = map(Stage, blocks)
        self.bn1 = nn.BatchNorm2d(widths[-1])
        self.fc = nn.Linear(widths[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.out_channels * math.prod(module.kernel_size)
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W) of at least 4 x 4 pixels."""
        x = self.conv1(self.normalise(images))
        x = self.block3(self.block2(self.block1(x)))
        return self.fc(self.bn1(x).relu_().mean((2, 3)))  # type: ignore[no-any-return]
