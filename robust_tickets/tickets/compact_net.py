"""The network of a ticket without its dead channels: the same function at less cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from robust_tickets.base.device_errors import is_device_error
from robust_tickets.base.errors import InputError
from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.placement import blank_image
from robust_tickets.models.probe import eager, probe_copy, probe_images
from robust_tickets.models.resize import resize_layers
from robust_tickets.pruning.channel_groups import Group, channel_groups
from robust_tickets.pruning.compaction import (
    Compaction,
    LiveChannels,
    all_channels,
    live_channels,
    plan_compaction,
)
from robust_tickets.pruning.companions import prove_companions
from robust_tickets.pruning.layers import Shape
from robust_tickets.pruning.mask import Mask
from robust_tickets.tickets.sign_probes import same_for_signs

TOLERANCE = {True: 1e-8, False: 1e-4}
"""Largest difference of small and masked network over the largest logit: True for float64, else False."""


@dataclass(frozen=True)
class CompactNet:
    """A network without its dead channels.

    net: the small network.
    mask: the mask of the weights that are still pruned in it; None where none are.
    plan: which part of each tensor stayed.
    """

    net: nn.Module
    mask: Mask | None
    plan: Compaction


def compact_net(net: nn.Module, mask: Mask, shape: Shape) -> CompactNet:
    """Remove the dead channels of a masked network; `net` itself stays as it is.

    net: the network, with the weights that the small one gets.
    mask: its mask.
    shape: channels, height and width of an image.

    It is the same function: in float64 logits and gradients agree to 1e-10, in train and eval mode. Logits
    are checked each time to TOLERANCE, on a copy with random weights, in float64 where the network's code can
    compute in it. Raises InputError, with the layer's name, for a network that cannot be followed, or in
    which a removed channel would be missed.
    """
    groups = channel_groups(net, shape)
    return compact_to(net, groups, live_channels(groups, mask), mask, shape)


def compact_to(
    net: nn.Module, groups: Sequence[Group], live: LiveChannels, mask: Mask, shape: Shape
) -> CompactNet:
    """`compact_net` for known live channels."""
    state = net.state_dict()
    plan = plan_compaction(groups, live, state)
    small = copy_net(net)
    if plan.removed_channels:
        _check(net, groups, live, mask, shape)
        narrow = plan.narrow(state)
        resize_layers(small, narrow)
        small.load_state_dict(narrow)
    small_mask = Mask(plan.narrow(mask))
    return CompactNet(small, None if small_mask.count == small_mask.size else small_mask, plan)


def _check(net: nn.Module, groups: Sequence[Group], live: LiveChannels, mask: Mask, shape: Shape) -> None:
    """Raise InputError where the network without its dead channels would be another function."""
    companions = prove_companions(net, groups, mask, shape).masks
    if _same_function(net, groups, live, mask, companions, shape):
        return
    whole = all_channels(groups)
    for i, group in enumerate(groups):
        alone = (*whole[:i], live[i], *whole[i + 1 :])
        if not bool(live[i].all()) and not _same_function(net, groups, alone, mask, companions, shape):
            raise InputError(
                f"the channels of {group.name} cannot be removed: behind that layer the network makes "
                "something of a channel that is zero, mixes channels, or relies on their number; leave the "
                f"layer out by search.ignored_layers {group.name}, or train the ticket with its zeros, "
                "compute.compact false"
            )
    raise InputError(
        "the dead channels of the network cannot be removed together: train the ticket with its zeros, "
        "compute.compact false"
    )


@torch.no_grad()
def _same_function(
    net: nn.Module,
    groups: Sequence[Group],
    live: LiveChannels,
    mask: Mask,
    companions: Mapping[str, Tensor],
    shape: Shape,
) -> bool:
    """Whether the masked and the small network agree, for random weights and statistics."""
    plan = plan_compaction(groups, live, net.state_dict())
    whole = _randomised_copy(net, shape)
    like = blank_image(whole, shape)
    small = copy_net(net).to(like.device)
    state = whole.state_dict()
    narrow = plan.narrow(state)
    resize_layers(small, narrow)
    if like.dtype == torch.float64:
        small.double()  # `to` would make complex parameters real
    small.load_state_dict(narrow)
    for name, entries in (*mask.items(), *companions.items()):
        state[name] *= entries.to(state[name].device)
    small.load_state_dict(plan.narrow(state))
    images = probe_images(whole, 4, shape)
    if not _same_logits(whole, small, images, "eval"):
        return False
    if not same_for_signs(whole, small, plan, (mask, companions), images):
        return False
    if _same_logits(whole, small, images, "train"):
        return True
    # dropout of the network's own code, which depends on how many channels there are
    return _is_noisy(whole, images) and _same_logits(whole, small, images, "batch statistics")


def _randomised_copy(net: nn.Module, shape: Shape) -> nn.Module:
    """A copy for probes with random weights and statistics, so that none agree by being zero or one."""
    twin = probe_copy(net, shape)
    generator = torch.Generator().manual_seed(1)
    before = {name: buffer.clone() for name, buffer in twin.named_buffers()}
    for tensor in twin.state_dict().values():
        if tensor.is_floating_point():
            # positive and about as large as what keeps a network's outputs of order one
            size = 1 / max(1, tensor[0].numel()) if tensor.ndim > 1 else 1.0
            tensor.copy_(size * (0.5 + torch.rand(tensor.shape, generator=generator, dtype=torch.float64)))
    try:
        _logits(twin, probe_images(twin, 2, shape), "eval")
    except Exception as error:  # code that checks its own statistics, as of quantisation: they stay
        if is_device_error(error):
            raise
        own = {n for n, module in twin.named_modules() if not isinstance(module, _BatchNorm)}
        for name, buffer in twin.named_buffers():
            if name.rpartition(".")[0] in own:
                buffer.copy_(before[name])
    return twin


Mode = Literal["eval", "train", "batch statistics"]
"""How a network runs in a comparison; "batch statistics": BatchNorms alone are in train mode."""


def _is_noisy(net: nn.Module, images: Tensor) -> bool:
    """Whether train mode gives other logits from other random numbers, as with stochastic depth."""
    return not torch.equal(*(_logits(net, images, "train", seed) for seed in range(2)))


def _same_logits(whole: nn.Module, small: nn.Module, images: Tensor, mode: Mode) -> bool:
    expected = _logits(whole, images, mode)
    try:
        logits = _logits(small, images, mode)
    except Exception as error:  # a forward that is written for a number of channels fails as it likes
        if is_device_error(error):
            raise
        return False
    if logits.shape != expected.shape:
        return False
    scale = expected.abs().max().clamp(min=1e-30)
    return bool((expected - logits).abs().max() <= TOLERANCE[expected.dtype == torch.float64] * scale)


def _logits(net: nn.Module, images: Tensor, mode: Mode, seed: int = 0) -> Tensor:
    net.train(mode == "train")
    for module in net.modules():
        if isinstance(module, _DropoutNd):
            module.eval()  # which units drop depends on how many there are
        elif isinstance(module, _BatchNorm):
            module.train(mode != "eval")
    with eager(), use_seed(seed):
        return net(images)  # type: ignore[no-any-return]
