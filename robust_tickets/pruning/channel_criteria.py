"""Pruning of whole channels: scores and live channels in, fewer live channels out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.channel_groups import Group
from robust_tickets.pruning.compaction import BLOCK, LiveChannels
from robust_tickets.pruning.mask import Mask


def channel_scores(groups: Sequence[Group], scores: Mapping[str, Tensor], mask: Mask) -> list[Tensor]:
    """A score for each channel of each group, from the scores of the weights.

    It is the mean score of the kept weights of a channel's filters, averaged over the layers that make the
    channel. With magnitudes this is the filter norm of Li et al. 2017 (arXiv 1608.08710), as a mean, so that
    layers of different filter sizes can be compared.
    """
    by_group = []
    for group in groups:
        by_layer = []
        for part in group.filters:
            entries = mask[part.tensor].movedim(part.dim, 0).flatten(1).to(torch.float64)
            values = scores[part.tensor].cpu().movedim(part.dim, 0).flatten(1).to(torch.float64)
            mean = (values * entries).sum(1) / entries.sum(1).clamp(min=1)
            by_layer.append(mean[part.indices].mean(1))
        by_group.append(torch.stack(by_layer).mean(0) if by_layer else torch.zeros(group.channels))
    return by_group


@dataclass(frozen=True)
class _Block:
    """Channels of one group that go together, and their mean score."""

    score: float
    group: int
    channels: Tensor


def prune_channels(
    scores: Sequence[Tensor],
    live: LiveChannels,
    ratio: float,
    *,
    by_group: bool = False,
    ignored: Sequence[bool] = (),
    round_to: int = BLOCK,
) -> LiveChannels:
    """Remove about a share of the live channels, those of lowest score, in blocks.

    scores: for each group the scores of its channels.
    live: for each group a bool tensor, True where a channel is live.
    ratio: share of the live channels to remove, met as nearly as blocks allow.
    by_group: remove the share from each group; otherwise from all groups together, by the blocks' mean score.
    ignored: for each group whether it loses nothing and is not counted; empty: none.
    round_to: groups keep multiples of so many channels. A block is so many channels of a group, the first
        one as many as leave a multiple. Each group keeps its last block.

    Ties are broken by position. Raises InputError where a score is not finite, or nothing can be removed.
    """
    candidates = [i for i in range(len(live)) if not (ignored and ignored[i])]
    remaining = [channels.clone() for channels in live]
    for groups in [[i] for i in candidates] if by_group else [candidates]:
        _remove_share(scores, remaining, ratio, groups, round_to)
    if all(torch.equal(one, other) for one, other in zip(remaining, live, strict=True)):
        counts = ", ".join(str(int(live[i].sum())) for i in candidates)
        if not candidates:
            raise InputError(
                "no channels are left to prune: all layers are left out by search.ignored_layers, frozen or "
                "logits; prune weights, --search.granularity weight"
            )
        has = f"the only group has {counts}" if len(candidates) == 1 else f"the groups have {counts}"
        finer = "a smaller search.round_to, " if round_to > BLOCK else ""
        raise InputError(
            f"a share of {ratio:g} of the channels is less than one block of {round_to}, or would leave a "
            f"layer with less ({has} channels): choose a wider network (model.width), "
            f"another search.ratio, {finer}fewer search.rounds, or --search.granularity weight"
        )
    return tuple(remaining)


def _remove_share(
    scores: Sequence[Tensor], live: list[Tensor], ratio: float, groups: Sequence[int], size: int
) -> None:
    """Remove the share from these groups, in place."""
    blocks = [block for i in groups for block in _blocks(i, scores[i], live[i], size)]
    target = ratio * sum(int(live[i].sum()) for i in groups)
    count = 0
    # within a group the scores of blocks rise, so that a stable sort keeps their order
    for block in sorted(blocks, key=lambda block: block.score):
        if count + len(block.channels) - target > target - count:  # nearer without it
            break
        live[block.group][block.channels] = False
        count += len(block.channels)


def _blocks(group: int, scores: Tensor, live: Tensor, size: int) -> list[_Block]:
    """The blocks of a group that may be removed, the lowest scores first."""
    channels = live.nonzero()[:, 0]
    values = scores[channels]
    if not bool(values.isfinite().all()):
        raise InputError(
            "weights are not finite, so nothing can be pruned: the training diverged; lower search.lr"
        )
    order = channels[torch.sort(values, stable=True).indices]
    first = len(order) % size
    sizes = [first] if first else []
    sizes += [size] * (len(order) // size)
    parts = torch.split(order, sizes)[:-1]  # the last one stays
    return [_Block(float(scores[part].mean()), group, part) for part in parts]
