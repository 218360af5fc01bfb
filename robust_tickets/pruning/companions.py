"""Companions of dead filters: biases, gammas and betas that would still send a constant, proved by number.

The channel groups say where channels lie, but they follow no permutation, padding or code of the user's own.
So nothing is taken for dead that was not seen to be constant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robust_tickets.base.device_errors import is_device_error
from robust_tickets.base.errors import InputError
from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.probe import eager, probe_copy, probe_images
from robust_tickets.pruning.channel_groups import Group, Part
from robust_tickets.pruning.compaction import companion_masks, dead_channels
from robust_tickets.pruning.layers import Shape, has_own_forward
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.shared_parameters import shared_parameters

_TOLERANCE = {torch.float64: 1e-9}
_COARSE = 1e-4
"""Largest range of a constant channel over the largest value of the layer, in float64 and in other types."""


@dataclass(frozen=True)
class Companions:
    """What belongs to dead filters.

    masks: by parameter name, False where a companion of a dead filter is known to be one.
    mixed: group -> the first layer that gets no constant where the group says that its dead channels lie.
    """

    masks: dict[str, Tensor] = field(default_factory=dict)
    mixed: dict[str, str] = field(default_factory=dict)


def prove_companions(
    net: nn.Module, groups: Sequence[Group], mask: Mask, shape: Shape, *, readers: bool = False
) -> Companions:
    """The companions of a mask's dead filters in a network for images (C, H, W).

    In a copy with random weights, dead filters and their companions are set to zero; a companion whose layer
    still gets a channel that differs among positions and images is none, and the search for others begins
    again without it. The first wrong one on the way from the image is always seen, hence all are.

    readers: whether to look at what the weights that read dead channels get, too.
    """
    shared = shared_parameters(net, shape) if groups else frozenset()
    own = {name: parameter for name, parameter in net.named_parameters() if name not in shared}
    masks = companion_masks(groups, mask, own)
    claims = _claims(net, groups, mask, readers)
    mixed: dict[str, str] = {}
    if not claims:
        return Companions(masks)
    twin = _random_copy(net, shape)
    values = {name: tensor.clone() for name, tensor in twin.named_parameters()}
    changed = True
    while changed:
        changed = False
        _set_masked(twin, values, {**mask, **masks})
        varying = _varying_channels(twin, {(claim.layer, claim.made) for claim in claims}, shape)
        for claim in claims:
            entries = varying.get((claim.layer, claim.made))
            wrong = claim.places if entries is None else claim.places[entries[claim.places]]
            if not len(wrong):
                continue
            mixed.setdefault(claim.group, claim.layer)
            if claim.tensor in masks and not bool(masks[claim.tensor][wrong].all()):
                masks[claim.tensor][wrong] = True
                changed = True
    return Companions({name: entries for name, entries in masks.items() if not bool(entries.all())}, mixed)


@dataclass(frozen=True)
class _Claim:
    """That some channels of a layer are constants: of its input, or, where it makes them, of its output."""

    group: str
    layer: str
    tensor: str
    places: Tensor
    made: bool


def _claims(net: nn.Module, groups: Sequence[Group], mask: Mask, readers: bool) -> list[_Claim]:
    """What the groups say of dead channels, but that a zero filter of PyTorch's own makes a constant."""
    claims = []
    for group in groups:
        dead = dead_channels(group, mask)
        if group.obstacle or not bool(dead.any()):
            continue
        makers = {_layer(part) for part in group.filters}
        for part in group.companions:
            layer = _layer(part)
            if layer not in makers or has_own_forward(net.get_submodule(layer)):
                places = part.indices[dead].flatten()
                claims.append(_Claim(group.name, layer, part.tensor, places, layer in makers))
        for part in group.readers if readers else ():
            places = part.indices[dead].flatten()
            claims.append(_Claim(group.name, _layer(part), part.tensor, places, made=False))
    return claims


def check_channels(net: nn.Module, groups: Sequence[Group], shape: Shape) -> None:
    """Raise InputError where some channels of a group do not lie where the group says.

    That is looked at before any training, with random halves of the channels of all groups dead: several,
    since a permutation may leave one in place.
    """
    generator = torch.Generator().manual_seed(0)
    mixed: dict[str, str] = {}
    for _ in range(4):
        entries = dict(Mask.full(net))
        for group in groups:
            dead = torch.randperm(group.channels, generator=generator)[: group.channels // 2]
            for part in group.filters if not group.obstacle else ():
                entries[part.tensor][part.indices[dead].flatten()] = False
        mixed |= prove_companions(net, groups, Mask(entries), shape, readers=True).mixed
    for name, layer in mixed.items():
        raise InputError(
            f"the channels of {name} cannot be pruned: before {layer} the network mixes, pads or changes "
            f"channels; leave them out by search.ignored_layers {name}, or prune weights, "
            "--search.granularity weight"
        )


def _layer(part: Part) -> str:
    return part.tensor.rpartition(".")[0]


@torch.no_grad()
def _random_copy(net: nn.Module, shape: Shape) -> nn.Module:
    """A copy with random weights in eval mode, BatchNorms in train mode so that nothing saturates."""
    twin = probe_copy(net, shape)
    generator = torch.Generator().manual_seed(1)
    for tensor in twin.parameters():
        if not (tensor.is_floating_point() or tensor.is_complex()):
            continue  # places, as of a permutation
        if tensor.ndim > 1:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) / max(1, tensor[0].numel()) ** 0.5)
        else:
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    for module in twin.modules():
        if isinstance(module, _BatchNorm):
            module.train()
    return twin


@torch.no_grad()
def _set_masked(net: nn.Module, values: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Set the parameters to their values where the masks keep them, else to zero."""
    for name, parameter in net.named_parameters():
        entries = masks.get(name)
        parameter.copy_(values[name] if entries is None else values[name] * entries.to(parameter.device))


@torch.no_grad()
def _varying_channels(
    net: nn.Module, layers: set[tuple[str, bool]], shape: Shape
) -> dict[tuple[str, bool], Tensor]:
    """Which channels of layers are no constants, in any of their calls; layers that do not run are missing.

    layers: names, each with True where the output is looked at, else the input.
    """
    varying: dict[tuple[str, bool], Tensor] = {}

    def observe(key: tuple[str, bool], channels: Tensor) -> None:
        dim = -1 if isinstance(net.get_submodule(key[0]), nn.Linear) else 1
        flat = channels.movedim(dim, 0).flatten(1)
        limit = _TOLERANCE.get(flat.dtype, _COARSE) * flat.abs().max()
        # NaN is no constant either
        seen = (~(flat.amax(1) - flat.amin(1) <= limit)).cpu()
        varying[key] = varying[key] | seen if key in varying else seen

    hooks = []
    for key in layers:
        layer = net.get_submodule(key[0])
        if key[1]:
            hooks.append(layer.register_forward_hook(lambda _, args, out, key=key: observe(key, out)))
        else:
            hooks.append(layer.register_forward_pre_hook(lambda _, args, key=key: observe(key, args[0])))
    try:
        with eager(), use_seed(0):  # of networks with noise of their own
            net(probe_images(net, 8, shape))
    except Exception as error:  # the network's own code fails as it likes; then nothing is proved
        if is_device_error(error):
            raise
        return {}
    finally:
        for hook in hooks:
            hook.remove()
    return varying
