"""Layers that only pad before they use their weight save FLOPs by zeros; those that change it do not."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robust_tickets.models.flops import forward_flops
from robust_tickets.pruning.layers import has_own_forward
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.own_forward import saves_by_zeros
from robust_tickets.stages.unsupported import unsupported_parts
from robust_tickets.tickets.narrow_net import masked_flops


class Same(nn.Conv2d):
    """Pads as TensorFlow does, from the image's size (timm's Conv2dSame)."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for size, k, s, d in zip(x.shape[:1:-1], self.kernel_size, self.stride, self.dilation, strict=True):
            more = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
            pads += [more // 2, more - more // 2]
        x = F.pad(x, pads)
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Circular(nn.Conv1d):
    """Pads in the inner function."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(F.pad(x, (1, 1), mode="circular"), weight, bias)


class Scaled(nn.Linear):
    """With a gain for each output (equalised learning rate)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * torch.arange(1.0, 1 + len(self.weight))[:, None].to(x), self.bias)


class InFloat32(nn.Conv2d):
    """Computes in float32 whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x.float(), self.weight.float(), None, self.stride, self.padding)


class Standardised(nn.Conv2d):
    """Standardises its weight (Qiao et al. 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        mean, std = self.weight.mean((1, 2, 3), keepdim=True), self.weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, (self.weight - mean) / std, self.bias)


class Normed(nn.Conv2d):
    """Divides its weight by its norm: zeros stay, but it is not linear in its weight."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight / self.weight.norm(), self.bias)


class Smoothed(nn.Conv2d):
    """Linear in its weight, which is smoothed first."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, (self.weight + self.weight.roll(1, 3)) / 2, self.bias)


class Shifted(nn.Linear):
    """Affine in its weight, and alive where that is zero."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight + 1, self.bias)


class Mixed(nn.Linear):
    """Its filters are mixed."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.flip(1), self.bias) + F.linear(x, self.weight)


class Rounded(nn.Conv2d):
    """Rounds its weight to some bits."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, (self.weight * 8).round() / 8, self.bias)


class Failing(nn.Conv2d):
    """Takes images of one size alone."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.view(-1, self.in_channels, 8, 8))


SAVING = [
    Same(4, 8, 3, 2),
    Same(4, 8, 3, dilation=2, groups=2, bias=False),
    Same(8, 8, 5, groups=8),
    Same(3, 1, 1),
    Circular(4, 6, 3),
    Scaled(9, 5),
    InFloat32(4, 8, 3, padding=1),
]
OTHERS = [
    *(kind(4, 8, 3) for kind in (Standardised, Normed, Smoothed, Rounded, Failing)),
    Shifted(9, 5),
    Mixed(9, 5),
]


def name(layer: nn.Module) -> str:
    return type(layer).__name__


@pytest.mark.parametrize("layer", SAVING, ids=name)
def test_layers_that_use_their_weight_save(layer):
    assert has_own_forward(layer)
    before, state = {n: t.clone() for n, t in layer.state_dict().items()}, torch.get_rng_state()
    assert saves_by_zeros(layer)
    assert all(torch.equal(tensor, before[n]) for n, tensor in layer.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("layer", OTHERS, ids=name)
def test_layers_that_change_their_weight_do_not(layer):
    assert not saves_by_zeros(layer)


def test_layers_of_pytorch_s_need_no_trial():
    assert saves_by_zeros(nn.Conv2d(1, 2, 3))
    assert saves_by_zeros(nn.ReLU())


def test_zeros_of_padding_layers_are_counted_and_not_warned_of():
    net = nn.Sequential(Same(1, 4, 3), nn.ReLU(), Standardised(4, 2, 3), nn.Flatten(), nn.Linear(72, 2))
    entries = dict(Mask.full(net))
    assert masked_flops(net, Mask(entries), (1, 8, 8)) == forward_flops(net, (1, 8, 8))
    saved = 2 * 64 * 4 * 9
    for layer, fewer in (("0", saved), ("2", saved)):
        entries[f"{layer}.weight"] = torch.zeros_like(entries[f"{layer}.weight"])
        assert masked_flops(net, Mask(entries), (1, 8, 8)) == forward_flops(net, (1, 8, 8)) - fewer
    assert any("1 layers have a forward of their own (2)" in line for line in unsupported_parts(net))
