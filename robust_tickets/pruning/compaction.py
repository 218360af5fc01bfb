"""Channels that died whole, and the net without them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robust_tickets.pruning.channel_groups import Group, Part
from robust_tickets.pruning.mask import Mask

BLOCK = 8
"""Channels are kept in multiples of so many: what vector units like."""

LiveChannels = tuple[Tensor, ...]
"""For each group a bool tensor, True where a channel is kept."""


def all_channels(groups: Sequence[Group]) -> LiveChannels:
    """Every channel of every group."""
    return tuple(torch.ones(group.channels, dtype=torch.bool) for group in groups)


def live_channels(groups: Sequence[Group], mask: Mask) -> LiveChannels:
    """The channels that a mask leaves.

    A channel is dead where its filters are pruned whole, or all that reads it is, dead channels' own filters
    apart. Groups with an obstacle keep theirs, and dead channels that would leave a group with other than a
    multiple of 8 stay, the first ones.
    """
    kept = {name: mask[name].clone() for name in mask}
    found = list(all_channels(groups))
    changed = True
    while changed:
        changed = False
        for i, group in enumerate(groups):
            if group.obstacle:
                continue
            lives = _any(kept, group.filters, group.channels) & _any(kept, group.readers, group.channels)
            if bool((found[i] & ~lives).any()):
                found[i] &= lives
                for part in group.filters:  # what only dead channels read dies with them
                    kept[part.tensor][part.places[~found[i]].flatten()] = False
                changed = True
    return tuple(_rounded(lives) for lives in found)


def _any(kept: Mapping[str, Tensor], parts: Sequence[Part], channels: int) -> Tensor:
    """Which channels have a kept weight in any of the parts."""
    lives = torch.zeros(channels, dtype=torch.bool)
    for part in parts:
        along = kept[part.tensor].movedim(part.dim, 0).flatten(1).any(1)
        lives |= along[part.places].any(1)
    return lives


def _rounded(lives: Tensor) -> Tensor:
    """As many more of the dead, by position, as a multiple of 8 takes, or all."""
    wanted = min(len(lives), max(BLOCK, -(-int(lives.sum()) // BLOCK) * BLOCK))
    lives = lives.clone()
    lives[(~lives).nonzero()[:, 0][: wanted - int(lives.sum())]] = True
    return lives


def companion_masks(
    groups: Sequence[Group], mask: Mask, parameters: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Masks of the biases, gammas and betas of channels whose filters are pruned whole: what else would go on
    being sent from there.
    """
    kept = dict(mask.items())
    extra: dict[str, Tensor] = {}
    for group in groups:
        dead = ~_any(kept, group.filters, group.channels)
        if group.obstacle or not bool(dead.any()):
            continue
        for part in group.along:
            if part.tensor in parameters and part.tensor not in kept:
                full = torch.ones(parameters[part.tensor].shape, dtype=torch.bool)
                whole = extra.setdefault(part.tensor, full)
                whole[part.places[dead].flatten()] = False
    return extra


def channel_mask(groups: Sequence[Group], lives: LiveChannels, full: Mask) -> Mask:
    """The mask in which all that belongs to a dead channel is pruned, and nothing else."""
    kept = {name: mask.clone() for name, mask in full.items()}
    for group, living in zip(groups, lives, strict=True):
        for part in group.parts:
            if part.tensor in kept:
                kept[part.tensor].index_fill_(part.dim, part.places[~living].flatten(), False)
    return Mask(kept)


@dataclass(frozen=True)
class Compaction:
    """What stays of a net: for each tensor that shrinks, the places kept along each of its dimensions.

    `removed` channels of `channels` go.
    """

    kept: dict[str, dict[int, Tensor]]
    removed: int
    channels: int

    def small(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict, or the mask, of the small net."""
        return {name: self._narrow(name, tensor) for name, tensor in state.items()}

    def whole(self, small: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of the whole net: `like`, with what the small net has put where it came from."""
        state = {name: tensor.clone() for name, tensor in like.items()}
        for name, tensor in small.items():
            kept = self.kept.get(name)
            if kept is None:
                state[name] = tensor.clone()
                continue
            index = [kept.get(dim, torch.arange(n)) for dim, n in enumerate(state[name].shape)]
            state[name][torch.meshgrid(*index, indexing="ij")] = tensor
        return state

    def _narrow(self, name: str, tensor: Tensor) -> Tensor:
        for dim, places in self.kept.get(name, {}).items():
            tensor = tensor.index_select(dim, places.to(tensor.device))
        return tensor


def plan_compaction(groups: Sequence[Group], lives: LiveChannels, state: Mapping[str, Tensor]) -> Compaction:
    """What stays where only these channels do, of a net with this state dict."""
    stays: dict[str, dict[int, Tensor]] = {}
    for group, living in zip(groups, lives, strict=True):
        if bool(living.all()):
            continue
        for part in group.parts:
            whole = torch.ones(state[part.tensor].shape[part.dim], dtype=torch.bool)
            kept = stays.setdefault(part.tensor, {}).setdefault(part.dim, whole)
            kept[part.places[~living].flatten()] = False
    places = {name: {d: k.nonzero()[:, 0] for d, k in dims.items()} for name, dims in stays.items()}
    removed = sum(int((~living).sum()) for living in lives)
    return Compaction(places, removed, sum(map(len, lives)))
