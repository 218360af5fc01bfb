"""How a search prunes its network, weight by weight or channel by channel."""

import fnmatch
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.channel_criteria import channel_scores, prune_channels
from robust_tickets.pruning.channel_groups import channel_groups
from robust_tickets.pruning.compaction import LiveChannels, channel_mask, live_channels
from robust_tickets.pruning.companions import check_channels
from robust_tickets.pruning.criteria import check_rounds, ignored_layers, prune_round
from robust_tickets.pruning.layers import Shape, layer_roles
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.training_fields import Search
from robust_tickets.tickets.compact_net import CompactNet, compact_to


class PruningStep(ABC):
    """One way to sparsify a mask by scores, for one network."""

    @abstractmethod
    def prune(self, scores: Mapping[str, Tensor], mask: Mask) -> Mask:
        """The mask after one more round, from scores of the network's weights and the mask before it."""

    @abstractmethod
    def check(self, net: nn.Module, mask: Mask, rounds: int, *, compact: bool) -> None:
        """Raise InputError for what is bound to fail in so many rounds, before the first of them.

        compact: whether a round, or a ticket's training, will need the network without its dead channels.
        """

    @abstractmethod
    def compact(self, net: nn.Module, mask: Mask) -> CompactNet | None:
        """The smaller network that a round trains under the mask; None where it trains `net` itself."""


def pruning_step(net: nn.Module, search: Search, shape: Shape) -> PruningStep:
    """The pruning step of a search on a network for images (C, H, W).

    Raises InputError for a network without prunable layers and, for channels, where they cannot be followed
    or removed.
    """
    return {"weight": WeightStep, "channel": ChannelStep}[search.granularity](net, search, shape)


class WeightStep(PruningStep):
    """Prunes single weights. Rounds train the whole network under the mask."""

    def __init__(self, net: nn.Module, search: Search, shape: Shape) -> None:
        self._search, self._roles = search, layer_roles(net, shape)

    def prune(self, scores: Mapping[str, Tensor], mask: Mask) -> Mask:
        return prune_round(self._search, scores, mask, self._roles)

    def check(self, net: nn.Module, mask: Mask, rounds: int, *, compact: bool) -> None:
        check_rounds(self._search, mask, self._roles, rounds)

    def compact(self, net: nn.Module, mask: Mask) -> None:
        """None: rounds train the whole network."""


class ChannelStep(PruningStep):
    """Prunes whole channels, in groups that can only go together. Rounds train the smaller network.

    groups: of the network.
    """

    def __init__(self, net: nn.Module, search: Search, shape: Shape) -> None:
        self._search, self._shape = search, shape
        self.groups = channel_groups(net, shape)
        roles = layer_roles(net, shape)
        ignored = ignored_layers(replace(search, prune_output=True), Mask.full(net), roles)
        makers = [part.tensor for group in self.groups for part in group.filters]
        for pattern in search.ignored_layers.split():
            if not fnmatch.filter(makers, pattern):
                raise InputError(
                    f"search.ignored_layers {pattern!r} names no layer that makes channels: channels that a "
                    f"layer reads are kept by naming the layer that makes them, one of {', '.join(makers)}"
                )
        frozen = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
        # without a filter of its own, a group has nothing that could be pruned
        self._ignored = [
            not group.filters
            or any(part.tensor in ignored for part in group.filters)
            or any(part.tensor in frozen for part in group.parts)
            for group in self.groups
        ]
        for group, keep in zip(self.groups, self._ignored, strict=True):
            if group.obstacle and not keep:
                raise InputError(
                    f"the channels of {group.name} cannot be pruned; {group.obstacle}: leave them out by "
                    f"search.ignored_layers {group.name}, or prune weights, --search.granularity weight"
                )
        pruned = [group for group, keep in zip(self.groups, self._ignored, strict=True) if not keep]
        if not pruned:
            raise InputError(
                "no channels are left to prune: those of all layers are left out by search.ignored_layers, "
                "frozen, made by computed weights, or logits; prune weights, --search.granularity weight"
            )
        check_channels(net, pruned, shape)

    def prune(self, scores: Mapping[str, Tensor], mask: Mask) -> Mask:
        by_channel = channel_scores(self.groups, scores, mask)
        return self._prune(by_channel, live_channels(self.groups, mask), mask)

    def remaining(self, scores: list[Tensor], live: LiveChannels) -> LiveChannels:
        """The channels that are live after one more round, from a score of each and those before it."""
        return prune_channels(
            scores,
            live,
            self._search.ratio,
            by_group=self._search.scope == "layer",
            ignored=self._ignored,
            round_to=self._search.round_to,
        )

    def _prune(self, scores: list[Tensor], live: LiveChannels, mask: Mask) -> Mask:
        remaining = self.remaining(scores, live)
        full = Mask({name: torch.ones_like(entries) for name, entries in mask.items()})
        return channel_mask(self.groups, remaining, full)

    def check(self, net: nn.Module, mask: Mask, rounds: int, *, compact: bool) -> None:
        for _ in range(rounds):
            live = live_channels(self.groups, mask)
            mask = self._prune([channels.double() for channels in live], live, mask)
        if compact:
            self.compact(net, mask)

    def compact(self, net: nn.Module, mask: Mask) -> CompactNet | None:
        live = live_channels(self.groups, mask)
        if all(bool(channels.all()) for channels in live):
            return None
        return compact_to(net, self.groups, live, mask, self._shape)
