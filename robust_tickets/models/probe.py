"""Copies of a network for checks by number, in float64 where its code can compute in it."""

import sys
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from robust_tickets.attacks.float64 import float64_device
from robust_tickets.attacks.network import set_mode
from robust_tickets.base.device_errors import is_device_error
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.placement import blank_image

Shape = tuple[int, int, int]
"""Channels, height and width of an image."""


def eager() -> AbstractContextManager[object]:
    """Within the block compiled networks run as they are written, since compiled code skips new hooks.

    No code is compiled then either, of the many copies that a check makes.
    """
    if "torch._dynamo" not in sys.modules:  # slow to import, and nothing is compiled without it
        return nullcontext()
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]


@torch.no_grad()
def probe_copy(net: nn.Module, shape: Shape) -> nn.Module:
    """A copy in eval mode: in float64 where the network computes in it throughout, else in its own type.

    Some networks' own code cannot, as one whose forward begins with `images.float()`. The copy is on the
    network's device, or on the host where that has no float64.
    """
    twin = copy_net(net).to(float64_device(next(net.parameters()).device)).double()
    set_mode(twin, False)
    try:
        logits = twin(probe_images(twin, 2, shape))
    except Exception as error:  # the network's own code fails as it likes
        if is_device_error(error):
            raise
        return set_mode(copy_net(net), False)
    if isinstance(logits, Tensor) and logits.dtype != torch.float64:
        return set_mode(copy_net(net), False)
    return twin


def probe_images(net: nn.Module, count: int, shape: Shape, seed: int = 0) -> Tensor:
    """Random images (N, C, H, W) in the type and on the device of a network's first real parameter."""
    like = blank_image(net, shape)
    images = torch.rand((count, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return images.to(like.device, like.dtype)
