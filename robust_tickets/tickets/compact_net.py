"""A ticket's net without the channels that died whole: the same function, at less cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from robust_tickets.base.errors import InputError
from robust_tickets.models.fold import copy_net
from robust_tickets.models.resize import resize_layers
from robust_tickets.pruning.channel_groups import Group, Shape, channel_groups
from robust_tickets.pruning.compaction import (
    Compaction,
    LiveChannels,
    all_channels,
    companion_masks,
    live_channels,
    plan_compaction,
)
from robust_tickets.pruning.mask import Mask

TOLERANCE = 1e-8
"""How far the small net's logits, in float64, may lie from the masked one's, as a share of the largest."""


@dataclass(frozen=True)
class CompactNet:
    """The small net, the mask of what is still pruned in it (None where nothing is), and what was removed."""

    net: nn.Module
    mask: Mask | None
    plan: Compaction


def compact_net(net: nn.Module, mask: Mask, shape: Shape) -> CompactNet:
    """The net of a mask without its dead channels, with the weights that `net` has; `net` stays as it is.

    It is the same function: in float64 logits and gradients agree to 1e-10, in train and eval mode; logits
    are looked at each time, on a net drawn anew, to TOLERANCE. Images are (C, H, W). Raises InputError, which
    names the layer, for a net that cannot be followed: one whose layers, or what it computes between them,
    make channels depend on each other.
    """
    groups = channel_groups(net, shape)
    return compact_to(net, groups, live_channels(groups, mask), mask, shape)


def compact_to(
    net: nn.Module, groups: Sequence[Group], lives: LiveChannels, mask: Mask, shape: Shape
) -> CompactNet:
    """The same where the channels that stay are known. Raises InputError as `compacted` does."""
    state = net.state_dict()
    plan = plan_compaction(groups, lives, state)
    small = copy_net(net)
    if plan.removed:
        _check(net, groups, lives, mask, shape)
        narrow = plan.small(state)
        resize_layers(small, narrow)
        small.load_state_dict(narrow)
    left = Mask(plan.small(mask))
    return CompactNet(small, None if left.kept == left.size else left, plan)


def _check(net: nn.Module, groups: Sequence[Group], lives: LiveChannels, mask: Mask, shape: Shape) -> None:
    """Raise InputError where the net without these channels would not be the masked net."""
    if _same(net, groups, lives, mask, shape):
        return
    every = all_channels(groups)
    for i, group in enumerate(groups):
        alone = (*every[:i], lives[i], *every[i + 1 :])
        if not bool(lives[i].all()) and not _same(net, groups, alone, mask, shape):
            raise InputError(
                f"the channels of {group.name} cannot be removed: what the net computes behind that layer "
                "makes something of a channel that is zero, mixes channels, or counts on how many there "
                f"are; leave it out by search.ignored_layers {group.name}, or train the ticket "
                f"with its zeros, "
                "--compute.no-compact"
            )
    raise InputError(
        "the dead channels of the net cannot be removed together: train the ticket with its zeros, "
        "--compute.no-compact"
    )


@torch.no_grad()
def _same(net: nn.Module, groups: Sequence[Group], lives: LiveChannels, mask: Mask, shape: Shape) -> bool:
    """Whether masked net and small net agree, for weights and statistics drawn at random."""
    plan = plan_compaction(groups, lives, net.state_dict())
    whole, small = _drawn(net), copy_net(net)
    state = whole.state_dict()
    narrow = plan.small(state)
    resize_layers(small, narrow)
    small.double().load_state_dict(narrow)
    for name, kept in (*mask.items(), *companion_masks(groups, mask, dict(net.named_parameters())).items()):
        state[name] *= kept.to(state[name].device)
    small.load_state_dict(plan.small(state))
    images = torch.rand((4, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = images.to(next(net.parameters()).device)
    return all(_agree(whole, small, images, mode) for mode in (False, True))


def _agree(whole: nn.Module, small: nn.Module, images: Tensor, mode: bool) -> bool:
    expected = _logits(whole, images, mode)
    try:
        found = _logits(small, images, mode)
    except Exception:  # a forward that is written for a number of channels fails as it likes
        return False
    return _close(expected, found)


def _drawn(net: nn.Module) -> nn.Module:
    """A copy in float64, everything in it drawn anew, so that nothing agrees by being zero or one."""
    twin = copy_net(net).double()
    generator = torch.Generator().manual_seed(1)
    for tensor in twin.state_dict().values():
        if tensor.is_floating_point():
            # positive and about as large as what keeps a net's outputs of order one
            size = 1 / max(1, tensor[0].numel()) if tensor.ndim > 1 else 1.0
            tensor.copy_(size * (0.5 + torch.rand(tensor.shape, generator=generator, dtype=torch.float64)))
    return twin


def _logits(net: nn.Module, images: Tensor, mode: bool) -> Tensor:
    net.train(mode)
    for module in net.modules():
        if isinstance(module, _DropoutNd):
            module.eval()  # which units drop hangs on how many there are
    return net(images)  # type: ignore[no-any-return]


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    scale = one.abs().max().clamp(min=1e-30)
    return bool((one - other).abs().max() <= TOLERANCE * scale)
