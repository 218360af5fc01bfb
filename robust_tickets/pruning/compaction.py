"""Dead channels, and the plan of the network without them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robust_tickets.pruning.channel_groups import Group, Part
from robust_tickets.pruning.mask import Mask

BLOCK = 8
"""Layers keep multiples of so many channels, which suits vector units."""

LiveChannels = tuple[Tensor, ...]
"""For each group a bool tensor, True where a channel is live."""


def all_channels(groups: Sequence[Group]) -> LiveChannels:
    """Every channel of every group."""
    return tuple(torch.ones(group.channels, dtype=torch.bool) for group in groups)


def live_channels(groups: Sequence[Group], mask: Mask) -> LiveChannels:
    """The channels that are live under a mask.

    A channel is dead where all weights of its filters are pruned, or all weights that read it, those in the
    filters of dead channels not counted. Groups with an obstacle keep all channels. The first dead channels
    of a group stay where it would otherwise have other than a multiple of 8.
    """
    entries = {name: mask[name].clone() for name in mask}
    live = list(all_channels(groups))
    changed = True
    while changed:
        changed = False
        for i, group in enumerate(groups):
            if group.obstacle:
                continue
            useful = _any(entries, group.filters, group.channels) & _any(
                entries, group.readers, group.channels
            )
            if bool((live[i] & ~useful).any()):
                live[i] &= useful
                for part in group.filters:  # what only dead channels read dies with them
                    entries[part.tensor][part.indices[~live[i]].flatten()] = False
                changed = True
    return tuple(_round_up(channels) for channels in live)


def _any(entries: Mapping[str, Tensor], parts: Sequence[Part], channels: int) -> Tensor:
    """Which channels have a kept weight in any of the parts."""
    live = torch.zeros(channels, dtype=torch.bool)
    for part in parts:
        by_index = entries[part.tensor].movedim(part.dim, 0).flatten(1).any(1)
        live |= by_index[part.indices].any(1)
    return live


def _round_up(live: Tensor) -> Tensor:
    """The live channels, and as many of the first dead ones as a multiple of 8 takes, or all."""
    target = min(len(live), max(BLOCK, -(-int(live.sum()) // BLOCK) * BLOCK))
    live = live.clone()
    live[(~live).nonzero()[:, 0][: target - int(live.sum())]] = True
    return live


def dead_channels(group: Group, mask: Mask) -> Tensor:
    """Which channels of a group have no kept weight in their filters, as a bool tensor."""
    return ~_any(mask, group.filters, group.channels)


def companion_masks(
    groups: Sequence[Group], mask: Mask, parameters: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Masks of the biases, gammas and betas of channels without filters, which would still send a constant.

    They are where the groups say; `prove_companions` looks whether that is so. Frozen ones are left out.

    parameters: those of the network, by name.
    """
    masks: dict[str, Tensor] = {}
    for group in groups:
        dead = dead_channels(group, mask)
        if group.obstacle or not bool(dead.any()):
            continue
        for part in group.companions:
            parameter = parameters.get(part.tensor)
            if parameter is not None and parameter.requires_grad and part.tensor not in mask:
                full = torch.ones(parameter.shape, dtype=torch.bool)
                masks.setdefault(part.tensor, full)[part.indices[dead].flatten()] = False
    return masks


def channel_mask(groups: Sequence[Group], live: LiveChannels, full: Mask) -> Mask:
    """The mask that prunes every weight of a dead channel, and nothing else."""
    entries = {name: entry.clone() for name, entry in full.items()}
    for group, channels in zip(groups, live, strict=True):
        for part in group.parts:
            if part.tensor in entries:
                entries[part.tensor].index_fill_(part.dim, part.indices[~channels].flatten(), False)
    return Mask(entries)


@dataclass(frozen=True)
class Compaction:
    """Which part of each tensor of a network stays when its dead channels are removed.

    indices: for each tensor that shrinks, the indices that stay along each of its shrinking dimensions.
    removed_channels: number of channels that are removed.
    channels: number of channels that there were.
    """

    indices: dict[str, dict[int, Tensor]]
    removed_channels: int
    channels: int

    def narrow(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict, or the mask, of the small network from that of the whole one."""
        return {name: self._narrow_tensor(name, tensor) for name, tensor in state.items()}

    def widen(self, small: Mapping[str, Tensor], whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict `whole` with the values of the small network put where they came from."""
        state = {name: tensor.clone() for name, tensor in whole.items()}
        for name, tensor in small.items():
            if name not in self.indices:
                state[name] = tensor.clone()
                continue
            dims = enumerate(state[name].shape)
            index = [self.indices[name].get(dim, torch.arange(n)) for dim, n in dims]
            state[name][torch.meshgrid(*index, indexing="ij")] = tensor
        return state

    def _narrow_tensor(self, name: str, tensor: Tensor) -> Tensor:
        for dim, indices in self.indices.get(name, {}).items():
            tensor = tensor.index_select(dim, indices.to(tensor.device))
        return tensor


def plan_compaction(groups: Sequence[Group], live: LiveChannels, state: Mapping[str, Tensor]) -> Compaction:
    """The compaction of a network with this state dict to its live channels."""
    stays: dict[str, dict[int, Tensor]] = {}
    for group, channels in zip(groups, live, strict=True):
        if bool(channels.all()):
            continue
        for part in group.parts:
            full = torch.ones(state[part.tensor].shape[part.dim], dtype=torch.bool)
            along = stays.setdefault(part.tensor, {}).setdefault(part.dim, full)
            along[part.indices[~channels].flatten()] = False
    indices = {name: {dim: s.nonzero()[:, 0] for dim, s in dims.items()} for name, dims in stays.items()}
    return Compaction(indices, sum(int((~channels).sum()) for channels in live), sum(map(len, live)))
