"""Networks of a user: grouped, shared, tied and computed weights, and attention."""

import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

CLASSES = 10


def mobile(classes: int = CLASSES) -> nn.Module:
    return torchvision.models.mobilenet_v2(num_classes=classes)


def transformer(classes: int = CLASSES) -> nn.Module:
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=classes
    )


class Grouped(nn.Module):
    """Grouped and depthwise convolutions, each before a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 16, 3, 2, padding=1, bias=False), nn.BatchNorm2d(16)
        self.grouped, self.norm2 = nn.Conv2d(16, 32, 3, 2, padding=1, groups=4), nn.BatchNorm2d(32)
        self.depthwise, self.norm3 = nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.BatchNorm2d(32)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.first(x)).relu()
        x = self.norm2(self.grouped(x)).relu()
        return self.head(self.norm3(self.depthwise(x)).relu().mean((2, 3)))


class Twice(nn.Module):
    """One convolution and one BatchNorm, run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 16, 3, 2, padding=1), nn.BatchNorm2d(16)
        self.again, self.norm2 = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.first(x)).relu()
        for _ in range(2):
            x = self.norm2(self.again(x)).relu()
        return self.head(x.mean((2, 3)))


class Tied(nn.Module):
    """Two linear layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3, 2, padding=1), nn.BatchNorm2d(16)
        self.one, self.other = nn.Linear(16, 16), nn.Linear(16, 16)
        self.other.weight = self.one.weight
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).relu().mean((2, 3))
        return self.head(self.other(F.relu(self.one(x))))


class Parametrised(nn.Module):
    """A convolution whose weight is computed from a direction and a length."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 16, 3, 2, padding=1), nn.BatchNorm2d(16)
        self.second, self.norm2 = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        parametrizations.weight_norm(self.second)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm2(self.second(self.norm1(self.first(x)).relu()))
        return self.head(x.relu().mean((2, 3)))


def two() -> nn.Module:
    """A transformer of two classes."""
    return transformer(2)


# parameters, prunable weights, BatchNorms that fold, and the warnings of what is not pruned or folded
NETS = {
    mobile: (2_236_682, 2_202_560, 52, []),
    transformer: (
        24_234,
        # patches, two layers' outputs and feed-forwards, the head
        3 * 64 * 32 + 2 * (32 * 32 + 2 * 32 * 64) + 320,
        0,
        [
            "not pruned: 6,720 of 24,234 parameters belong to no convolution or linear layer (class_token, "
            "encoder.pos_embedding, encoder.layers.encoder_layer_0.self_attention.in_proj_weight, ...)"
        ],
    ),
    Grouped: (2_426, 432 + 1152 + 288 + 320, 3, []),
    Twice: (3_002, 432 + 2304 + 160, 1, ["not folded for the attack: 1 of 2 BatchNorms"]),
    Parametrised: (
        3_018,  # 16 lengths more
        432 + 160,
        1,
        [
            "not pruned: 2,320 of 3,018 parameters only go into weights that are computed",
            "not folded for the attack: 1 of 2 BatchNorms",
        ],
    ),
    Tied: (938, 432 + 256 + 160, 1, []),
}
