"""The pre-activation ResNet-18 for small images."""

from collections.abc import Sequence

from torch import Tensor, nn

from robust_tickets.models.normalise import Normalise
from robust_tickets.models.resnet import stages


class PreActBlock(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm and ReLU, and a shortcut (He et al. 2016b).

    Where the shape changes, the shortcut is a 1x1 convolution of the activated input, elsewhere the input.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut = None
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (N, width, H / stride, W / stride)."""
        active = self.bn1(x).relu_()
        y = self.conv2(self.bn2(self.conv1(active)).relu_())
        y += x if self.shortcut is None else self.shortcut(active)
        return y  # type: ignore[no-any-return]


class PreActResNet(nn.Module):
    """Four stages of n blocks, then BatchNorm, ReLU, mean and a linear layer; three stages halve the image.

    Names, parameters and forward pass are those of the implementation behind Rice et al. (2020, robust
    overfitting). That of Wong et al. (2020, fast adversarial training) has the same names, but its shortcuts
    convolve the input before activation.
    """

    def __init__(
        self, channels: int, classes: int, n: int, widths: Sequence[int], normalise: Normalise
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        layers = stages(PreActBlock, widths[0], widths, n)
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.bn = nn.BatchNorm2d(widths[-1])
        self.linear = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W) of at least 8 x 8 pixels."""
        x = self.conv1(self.normalise(images))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(self.bn(x).relu_().mean((2, 3)))  # type: ignore[no-any-return]
