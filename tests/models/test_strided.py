"""1x1 convolutions of stride 2 come back: on some CPUs, from 3 to 6 channels and channels last, they do not.

Seen with oneDNN's AVX2 kernels in torch 2.14.1, so those are tried too where the machine has better ones.
"""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.placement import place_net
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


def strided(net: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    layers = [(name, layer) for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d)]
    return [(n, layer) for n, layer in layers if (layer.kernel_size, layer.stride) == ((1, 1), (2, 2))]


def shapes() -> list[str]:
    """Channels, filters and side of every such layer of our nets at usual widths, and of tickets of them."""
    found = {(channels, 8 * i, 32) for channels in range(8, 65, 8) for i in (1, 2, 5)}
    for name in [*NAMES, "wrn16-1"]:
        for width in (0.125, 0.25, 0.5):
            net = build(ModelSpec(name, width, (3, 32, 32), 10, (0.5,) * 3, (0.5,) * 3), seed=0)
            sides: dict[str, int] = {}
            for at, layer in strided(net):
                layer.register_forward_hook(
                    lambda _, inputs, __, at=at, sides=sides: sides.__setitem__(at, inputs[0].shape[-1])
                )
            with torch.no_grad():
                net.eval()(torch.rand(1, 3, 32, 32))
            found |= {(layer.in_channels, layer.out_channels, sides[at]) for at, layer in strided(net)}
    assert len(found) > 30
    return [",".join(map(str, shape)) for shape in sorted(found)]


@pytest.mark.parametrize("instructions", ["AVX2", "ALL"])
def test_the_shapes_in_use_come_back(instructions):
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions}
    command = [sys.executable, "-c", PASSES, *shapes()]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=True
        )
    except subprocess.TimeoutExpired as error:
        reached = (error.stdout or b"").decode().split()[-1:]
        pytest.fail(f"no end after {LIMIT} s, in the convolution (channels, filters, side) {reached}")
    assert done.stdout.split()[-1] == "all"


@pytest.mark.parametrize("channels", [2, 3, 6, 7, 8])
def test_a_net_that_may_hang_is_refused_before_it_does(channels, machine):
    net = nn.Sequential(nn.Conv2d(3, channels, 3), nn.Sequential(nn.Conv2d(channels, 8, 1, 2)))
    place_net(net, Compute(channels_last=False), machine)
    if channels not in (3, 6):
        place_net(net, Compute(), machine)
        return
    with pytest.raises(InputError, match=f"1.0 is a 1x1 convolution of stride 2 from {channels} channels"):
        place_net(net, Compute(), machine)
