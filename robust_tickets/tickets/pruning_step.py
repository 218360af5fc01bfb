"""How a search cuts its net, weight by weight or channel by channel, and the net that a round trains."""

import fnmatch
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.channel_criteria import channel_scores, prune_channels
from robust_tickets.pruning.channel_groups import Shape, channel_groups
from robust_tickets.pruning.compaction import LiveChannels, channel_mask, live_channels
from robust_tickets.pruning.criteria import check_rounds, prune_round, spared_layers
from robust_tickets.pruning.layer_roles import layer_roles
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.fields import Search
from robust_tickets.tickets.compact_net import CompactNet, compact_to


class PruningStep(Protocol):
    """What a search prunes, of one net."""

    def __call__(self, scores: Mapping[str, Tensor], mask: Mask) -> Mask:
        """The mask after a round, from the scores of the net's weights and the mask before it."""

    def check(self, net: nn.Module, mask: Mask, rounds: int, *, narrowed: bool) -> None:
        """Raise InputError for what is known to go wrong in so many rounds, before the first of them.

        `narrowed` says whether the net without its dead channels is asked for, by a round or by the ticket.
        """

    def net(self, net: nn.Module, mask: Mask) -> CompactNet | None:
        """The smaller net that a round under the mask trains instead of `net`; None where it is `net`."""


def pruning_step(net: nn.Module, search: Search, shape: Shape) -> PruningStep:
    """How the search cuts this net; images are (C, H, W).

    Raises InputError as `roles` does and, for channels, where they cannot be followed or narrowed.
    """
    return (_Channels if search.granularity == "channel" else _Weights)(net, search, shape)


class _Weights:
    def __init__(self, net: nn.Module, search: Search, shape: Shape) -> None:
        self._search, self._roles = search, layer_roles(net, shape)

    def __call__(self, scores: Mapping[str, Tensor], mask: Mask) -> Mask:
        return prune_round(self._search, scores, mask, self._roles)

    def check(self, net: nn.Module, mask: Mask, rounds: int, *, narrowed: bool) -> None:
        check_rounds(self._search, mask, self._roles, rounds)

    def net(self, net: nn.Module, mask: Mask) -> None:
        return None


class _Channels:
    def __init__(self, net: nn.Module, search: Search, shape: Shape) -> None:
        self._search, self._shape = search, shape
        self._groups = channel_groups(net, shape)
        full = Mask.full(net)
        of = spared_layers(replace(search, prune_output=True), full, layer_roles(net, shape))
        makers = [part.tensor for group in self._groups for part in group.filters]
        for pattern in search.ignored_layers.split():
            if not fnmatch.filter(makers, pattern):
                raise InputError(
                    f"search.ignored_layers {pattern!r} spares no channels: those that a layer "
                    f"reads are those of the "
                    f"layer that makes them, which is one of {', '.join(makers)}"
                )
        self._spare = [any(part.tensor in of for part in group.filters) for group in self._groups]
        for group, spare in zip(self._groups, self._spare, strict=True):
            if group.obstacle and not spare:
                raise InputError(
                    f"the channels of {group.name} cannot be pruned; {group.obstacle}: leave them out by "
                    f"search.ignored_layers {group.name}, or prune weights, --search.granularity weight"
                )

    def __call__(self, scores: Mapping[str, Tensor], mask: Mask) -> Mask:
        by_channel = channel_scores(self._groups, scores, mask)
        return self._cut(by_channel, live_channels(self._groups, mask), mask)

    def _cut(self, scores: list[Tensor], lives: LiveChannels, mask: Mask) -> Mask:
        left = prune_channels(
            scores,
            lives,
            self._search.ratio,
            by_group=self._search.scope == "layer",
            spare=self._spare,
            round_to=self._search.round_to,
        )
        full = Mask({name: torch.ones_like(kept) for name, kept in mask.items()})
        return channel_mask(self._groups, left, full)

    def check(self, net: nn.Module, mask: Mask, rounds: int, *, narrowed: bool) -> None:
        for _ in range(rounds):
            lives = live_channels(self._groups, mask)
            mask = self._cut([living.double() for living in lives], lives, mask)
        if narrowed:
            self.net(net, mask)

    def net(self, net: nn.Module, mask: Mask) -> CompactNet | None:
        lives = live_channels(self._groups, mask)
        if all(bool(living.all()) for living in lives):
            return None
        return compact_to(net, self._groups, lives, mask, self._shape)
