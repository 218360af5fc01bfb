"""Networks as people have them, for `benchmarks.zoo`: torchvision's, and one for each mechanism.

All take images (N, 3, 32, 32) and give logits of four classes; they are small, or narrow where they can be.
"""

from collections.abc import Callable
from functools import partial

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

CLASSES = 4
vision = torchvision.models


class ZeroPaddedBlock(nn.Module):
    """A pre-activation block whose shortcut is padded with zeros (He et al. 2016, MadryLab)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(out), nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.more, self.stride = (out - channels) // 2, stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        if self.more:
            x = F.pad(F.avg_pool2d(x, self.stride), (0, 0, 0, 0, self.more, self.more))
        return x + y


def zero_padded_shortcuts() -> nn.Module:
    """A pre-activation ResNet of three blocks."""
    blocks = ZeroPaddedBlock(16, 16, 1), ZeroPaddedBlock(16, 32, 2), ZeroPaddedBlock(32, 64, 2)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False), *blocks, nn.BatchNorm2d(64), nn.ReLU(), *_head(64)
    )


def _head(channels: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)


def _unit(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1), nn.BatchNorm2d(out), nn.ReLU())


class Skip(nn.Module):
    """A skip with concatenation, as in a U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle, self.up = _unit(3, 16, 2), _unit(16, 16, 2), _unit(32, 16)
        self.head = nn.Sequential(*_head(16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return self.head(self.up(torch.cat([x, F.interpolate(self.middle(x), scale_factor=2.0)], 1)))


class SqueezeAndExcitation(nn.Module):
    """Channels that are scaled by numbers computed from all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.unit, self.after = _unit(3, 16, 2), _unit(16, 16, 2)
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 8, 1), nn.ReLU(), nn.Conv2d(8, 16, 1), nn.Sigmoid()
        )
        self.head = nn.Sequential(*_head(16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.unit(x)
        return self.head(self.after(x * self.scale(x)))


class Between(nn.Module):
    """A function of the channels between a convolution and its BatchNorm."""

    def __init__(self, between: Callable[[Tensor], Tensor], channels: int = 16, convolved: int = 16) -> None:
        super().__init__()
        self.first, self.between, self.norm = (
            nn.Conv2d(3, convolved, 3, 2, 1),
            between,
            nn.BatchNorm2d(channels),
        )
        self.second, self.head = _unit(channels, 16, 2), nn.Sequential(*_head(16))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(F.relu(self.norm(self.between(self.first(x))))))


def flip_channels(x: Tensor) -> Tensor:
    """The channels in reverse order."""
    return x.flip(1)


def permute_channels(x: Tensor) -> Tensor:
    """The channels in an order of their own."""
    return x[:, torch.arange(x.shape[1], device=x.device).roll(5)]


def max_out(x: Tensor) -> Tensor:
    """The larger of two channels (Goodfellow et al. 2013)."""
    return x.unflatten(1, (-1, 2)).amax(2)


class SharedLayer(nn.Module):
    """One convolution with one BatchNorm, run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.head = _unit(3, 16, 2), _unit(16, 16), nn.Sequential(*_head(16))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(self.again(self.first(x))))


class StandardisedConv(nn.Conv2d):
    """A convolution that standardises its weights (Qiao et al. 2019)."""

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(input, weight, self.bias, self.stride, self.padding)


def with_layer(layer: Callable[[], nn.Module]) -> nn.Module:
    """A small network with a layer from 16 to 16 channels of its own kind."""
    return nn.Sequential(_unit(3, 16, 2), layer(), nn.BatchNorm2d(16), nn.ReLU(), *_head(16))


class Frames(nn.Module):
    """Convolutions in three dimensions, over the colours."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv3d(1, 16, 3, 2, 1), nn.BatchNorm3d(16)
        self.second, self.head = nn.Conv3d(16, 16, (1, 3, 3), 2, 1), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.first(x[:, None])))
        return self.head(F.relu(self.second(x)).mean((2, 3, 4)))


class Rows(nn.Module):
    """Convolutions in one dimension, along the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv1d(96, 16, 3, 2, 1), nn.BatchNorm1d(16)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.first(x.flatten(1, 2)))).mean(2))


class ComplexParameter(nn.Module):
    """A filter in the frequency domain, the first of its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(3, 32, 17, dtype=torch.complex64))
        self.unit, self.head = _unit(3, 16, 2), nn.Sequential(*_head(16))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.unit(torch.fft.irfft2(torch.fft.rfft2(x) * self.filter, s=(32, 32))))


class StochasticDepth(nn.Module):
    """A residual block that is left out at random in training."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.block, self.head = _unit(3, 16, 2), _unit(16, 16), nn.Sequential(*_head(16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.head(x + torchvision.ops.stochastic_depth(self.block(x), 0.5, "row", self.training))


def dropouts() -> nn.Module:
    """Four kinds of dropout."""
    drops = nn.Dropout2d(0.2), nn.AlphaDropout(0.1), nn.FeatureAlphaDropout(0.1)
    return nn.Sequential(_unit(3, 16, 2), *drops, _unit(16, 16, 2), nn.Dropout(0.2), *_head(16))


def small() -> nn.Module:
    """A network of two convolutions."""
    return nn.Sequential(_unit(3, 16, 2), _unit(16, 16, 2), *_head(16))


def _conv() -> nn.Module:
    return nn.Conv2d(16, 16, 3, 1, 1)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": partial(vision.resnet18, num_classes=CLASSES, width_per_group=64),
    "mobilenet_v2": partial(vision.mobilenet_v2, num_classes=CLASSES, width_mult=0.25),
    "mobilenet_v3_small": partial(vision.mobilenet_v3_small, num_classes=CLASSES, width_mult=0.25),
    "shufflenet_v2_x0_5": partial(vision.shufflenet_v2_x0_5, num_classes=CLASSES),
    "densenet121": partial(vision.DenseNet, 8, (6, 12, 24, 16), 16, num_classes=CLASSES),
    "googlenet": partial(vision.googlenet, num_classes=CLASSES, aux_logits=False, init_weights=False),
    "efficientnet_b0": partial(vision.efficientnet_b0, num_classes=CLASSES),
    "convnext_tiny": partial(vision.convnext_tiny, num_classes=CLASSES),
    "vit_b_16": partial(vision.VisionTransformer, 32, 16, 12, 12, 48, 96, num_classes=CLASSES),
    "zero-padded shortcuts": zero_padded_shortcuts,
    "skip with concatenation": Skip,
    "squeeze-and-excitation": SqueezeAndExcitation,
    "channel shuffle": lambda: Between(nn.ChannelShuffle(4)),
    "flip of channels": lambda: Between(flip_channels),
    "permutation of channels": lambda: Between(permute_channels),
    "max-out": lambda: Between(max_out, 16, 32),
    "pixel shuffle": lambda: Between(nn.PixelShuffle(2), 8, 32),
    "pixel unshuffle": lambda: Between(nn.PixelUnshuffle(2), 32, 8),
    "shared layer": SharedLayer,
    "weight standardisation": lambda: with_layer(lambda: StandardisedConv(16, 16, 3, 1, 1)),
    "spectral norm": lambda: with_layer(lambda: parametrizations.spectral_norm(_conv())),
    "spectral norm by hooks": lambda: with_layer(lambda: nn.utils.spectral_norm(_conv())),
    "weight norm": lambda: with_layer(lambda: parametrizations.weight_norm(_conv())),
    "weight norm by hooks": lambda: with_layer(lambda: nn.utils.weight_norm(_conv())),
    "Conv3d": Frames,
    "Conv1d": Rows,
    "complex parameter": ComplexParameter,
    "dropout": dropouts,
    "stochastic depth": StochasticDepth,
    "DataParallel": lambda: nn.DataParallel(small()),
    "compiled": lambda: torch.compile(small(), backend="eager"),
}
"""Functions that build a network, by the network's name."""

_CHANNELS = "search: channels"
_SEARCHES = "search: weights", _CHANNELS
_MIXED = "before norm the network mixes, pads or changes channels"
_NARROW = "layers of this kind are not narrowed"

REFUSALS: dict[str, dict[str, str]] = {
    "shufflenet_v2_x0_5": {_CHANNELS: "cannot be followed through its forward"},
    "convnext_tiny": {_CHANNELS: f"(LayerNorm2d): {_NARROW}"},
    "vit_b_16": {_CHANNELS: f"(LayerNorm): {_NARROW}"},
    "zero-padded shortcuts": {_CHANNELS: "channels are added or cut before it, as by padding"},
    "channel shuffle": {_CHANNELS: _MIXED},
    "flip of channels": {_CHANNELS: _MIXED},
    "permutation of channels": {_CHANNELS: _MIXED},
    "max-out": {_CHANNELS: _MIXED},
    "pixel shuffle": {_CHANNELS: "channels are added or cut before it"},
    "pixel unshuffle": {_CHANNELS: _MIXED},
    "weight standardisation": {_CHANNELS: "makes something of a channel that is zero"},
    "spectral norm": {_CHANNELS: "its weight is computed from other parameters"},
    "weight norm": {_CHANNELS: "its weight is computed from other parameters"},
    "spectral norm by hooks": dict.fromkeys((*_SEARCHES, "export"), "use torch.nn.utils.parametrizations"),
    "weight norm by hooks": dict.fromkeys((*_SEARCHES, "export"), "use torch.nn.utils.parametrizations"),
}
"""For each network the stages that refuse it, with a part of the reason; it goes through all others."""
