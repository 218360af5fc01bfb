"""Networks of tests of several devices, in a module that their processes can import."""

import os

import torch
from torch import nn


class DoubleNet(nn.Module):
    """Two convolutions with BatchNorm for digits, in float64."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.head = nn.Linear(256, 10)
        self.double()

    def forward(self, x):
        x = self.norm(self.conv(x.double())).relu()
        return self.head(self.norm2(self.conv2(x)).relu().flatten(1))


class WithSpare(DoubleNet):
    """With a layer that nothing calls in training."""

    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(3, 3).double()


class RandomDepth(DoubleNet):
    """Leaves out its second convolution in about every second pass of training."""

    def forward(self, x):
        x = self.norm(self.conv(x.double())).relu()
        if not (self.training and torch.rand(()) < 0.5):
            x = self.norm2(self.conv2(x)).relu()
        return self.head(x.flatten(1))


class OwnStatistics(DoubleNet):
    """Normalises by its batch, without any BatchNorm."""

    def forward(self, x):
        return super().forward(x - x.mean((0, 2, 3), keepdim=True) * 20 if self.training else x)


class OwnNorm(nn.BatchNorm2d):
    """A BatchNorm of a class of its own."""


def drifts(net: nn.Module) -> nn.Module:
    """Let a network's first bias be another one in every process, by less than logits tell."""
    net.register_forward_pre_hook(_drift)
    return net


def _drift(net: nn.Module, inputs: object) -> None:
    with torch.no_grad():
        net.head.bias[0] = 1e-9 * os.getpid()
