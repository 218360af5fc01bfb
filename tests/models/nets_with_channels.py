"""Networks with every kind of channel group of the registry's, and some of other networks, for tests."""

import torch
from torch import Tensor, nn

from robust_tickets.models.registry import ModelSpec, build

WIDTHS = {
    "vgg16": 0.25,
    "vgg16-fc": 0.25,
    "vgg16-3fc": 0.25,
    "resnet20": 1.0,
    "preact-resnet18": 0.25,
    "wrn10-2": 1.0,
    "conv-4": 0.25,
    "lenet-300-100": 0.5,
}
SHAPE = (3, 32, 32)


class Concatenating(nn.Module):
    """Concatenated feature maps, a depthwise convolution, and a flattened feature map."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.two = nn.Conv2d(16, 24, 3, padding=1)
        self.norm = nn.BatchNorm2d(40)
        self.three = nn.Conv2d(40, 16, 3, stride=2, padding=1)
        self.each = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.each_norm = nn.BatchNorm2d(16)
        self.end = nn.Linear(16 * 8 * 8, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.one(images).relu()
        x = self.norm(torch.cat([x, self.two(x)], 1)).relu()
        x = self.each_norm(self.each(self.three(x))).relu()
        return self.end(x.flatten(1))


NETS = [*WIDTHS, "concatenating"]


def net_called(name: str, seed: int = 0) -> nn.Module:
    """A network in float64 and training mode, with random BatchNorm parameters and statistics."""
    generator = torch.Generator().manual_seed(seed)
    if name in WIDTHS:
        net = build(ModelSpec(name, WIDTHS[name], SHAPE, 10, (0.5,) * 3, (0.2,) * 3), seed=seed)
    else:
        net = Concatenating()
    net.double().train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.copy_(0.5 + torch.rand(len(tensor), generator=generator, dtype=torch.float64))
    return net


def images(n: int = 6) -> Tensor:
    """Images in float64."""
    return torch.rand((n, *SHAPE), generator=torch.Generator().manual_seed(n), dtype=torch.float64)
