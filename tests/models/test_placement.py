"""1x1 convolutions of stride 2 from 3 to 6 channels, which hang on some CPUs, are refused; others return.

OneDNN's AVX2 kernels in torch 2.14.1 hang, so that they are tested on newer CPUs too.
"""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.placement import blank_image, place_net
from robust_tickets.models.registry import NAMES, ModelSpec, build
from robust_tickets.recipe.fields import Compute

LIMIT = 120  # seconds for all shapes; they take a few
PASSES = """
import sys, torch
torch.set_num_threads(2)
for shape in sys.argv[1:]:
    channels, filters, side = map(int, shape.split(","))
    print(shape, flush=True)
    layer = torch.nn.Conv2d(channels, filters, 1, 2, bias=False).to(memory_format=torch.channels_last)
    images = torch.rand(128, channels, side, side).to(memory_format=torch.channels_last).requires_grad_()
    layer(images).sum().backward()
print("all")
"""


def shapes() -> list[str]:
    """Channels, filters and sides of every such layer of our networks and of structured tickets of them."""
    layers = {(channels, 8 * i) for channels in range(8, 65, 8) for i in (1, 2, 5)}
    for name in [*NAMES, "wrn16-1"]:
        for width in (0.125, 0.25, 0.5):
            with torch.device("meta"):
                net = build(ModelSpec(name, width, (3, 32, 32), 10, (0.5,) * 3, (0.5,) * 3), seed=0)
            convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
            layers |= {(m.in_channels, m.out_channels) for m in convolutions if m.stride == (2, 2)}
    assert len(layers) > 25
    return [f"{channels},{filters},{side}" for channels, filters in sorted(layers) for side in (8, 32)]


@pytest.mark.parametrize("instructions", ["AVX2", pytest.param("ALL", marks=pytest.mark.slow)])
def test_convolutions_in_use_return(instructions):
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions}
    command = [sys.executable, "-c", PASSES, *shapes()]
    try:
        process = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=True
        )
    except subprocess.TimeoutExpired as error:
        last = (error.stdout or b"").decode().split()[-1:]
        pytest.fail(f"no end after {LIMIT} s, in the convolution (channels, filters, side) {last}")
    assert process.stdout.split()[-1] == "all"


@pytest.mark.parametrize("channels", [2, 3, 6, 7, 8])
def test_a_network_that_may_hang_is_refused(channels):
    net = nn.Sequential(nn.Conv2d(3, channels, 3), nn.Sequential(nn.Conv2d(channels, 8, 1, 2)))
    place_net(net, Compute(channels_last=False), "cpu")
    if channels not in (3, 6):
        place_net(net, Compute(), "cpu")
        return
    with pytest.raises(InputError, match=f"1.0 is a 1x1 convolution of stride 2 from {channels} channels"):
        place_net(net, Compute(), "cpu")


def test_convolutions_in_three_dimensions_stay_as_they_are_beside_those_in_two():
    net = nn.ModuleList([nn.Conv3d(2, 8, 3), nn.Conv2d(2, 8, 3)])
    before = [p.clone() for p in net.parameters()]
    place_net(net, Compute(), "cpu")
    assert all(torch.equal(*pair) for pair in zip(before, net.parameters(), strict=True))
    assert net[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert net[0].weight.is_contiguous()


class ByFrequency(nn.Module):
    """A network whose first parameter is complex."""

    def __init__(self):
        super().__init__()
        self.filter = nn.Parameter(torch.ones(1, 8, 5, dtype=torch.complex64))
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(torch.fft.irfft2(torch.fft.rfft2(x) * self.filter, s=(8, 8)).flatten(1))


def test_images_are_of_the_first_real_parameter():
    net = ByFrequency()
    assert blank_image(net, (1, 8, 8)).dtype == torch.float32
    assert blank_image(net.double(), (1, 8, 8)).dtype == torch.float64
    assert forward_flops(net, (1, 8, 8)) == 2 * 64 * 10
    assert blank_image(nn.Flatten(), (1, 8, 8)).dtype == torch.float32


def test_a_network_that_the_device_cannot_hold_is_one_line(monkeypatch):
    def refuse(*arguments, **options):
        raise TypeError(
            "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
        )

    monkeypatch.setattr(nn.Linear, "to", refuse)
    with pytest.raises(InputError, match=r"cannot be moved to mps .*float64.*float32"):
        place_net(nn.Linear(2, 2).double(), Compute(), "mps")
