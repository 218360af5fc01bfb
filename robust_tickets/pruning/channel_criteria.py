"""The cut over channels: scores and living channels in, fewer living channels out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.channel_groups import Group
from robust_tickets.pruning.compaction import BLOCK, LiveChannels
from robust_tickets.pruning.mask import Mask


def channel_scores(groups: Sequence[Group], scores: Mapping[str, Tensor], mask: Mask) -> list[Tensor]:
    """A score for each channel: the mean score of its filters' kept weights, over the layers that make it.

    With magnitudes this is the filter norm of Li et al. 2017 (arXiv 1608.08710), as a mean, so that layers
    of different filter sizes can be compared, averaged over a residual stream's layers.
    """
    found = []
    for group in groups:
        by_layer = []
        for part in group.filters:
            kept = mask[part.tensor].movedim(part.dim, 0).flatten(1).to(torch.float64)
            values = scores[part.tensor].movedim(part.dim, 0).flatten(1).to(torch.float64)
            mean = (values * kept).sum(1) / kept.sum(1).clamp(min=1)
            by_layer.append(mean[part.places].mean(1))
        found.append(torch.stack(by_layer).mean(0) if by_layer else torch.zeros(group.channels))
    return found


@dataclass(frozen=True)
class _Block:
    """Channels of one group that go together, and their mean score."""

    score: float
    group: int
    channels: Tensor


def prune_channels(
    scores: Sequence[Tensor],
    lives: LiveChannels,
    ratio: float,
    *,
    by_group: bool = False,
    spare: Sequence[bool] = (),
    round_to: int = BLOCK,
) -> LiveChannels:
    """Remove about the share `ratio` of the living channels, in blocks that leave multiples of `round_to`.

    Within a group the channels of lowest score go first; as many as `round_to` (at first as many as make
    what is left a multiple of it) that are next to go are a block, and blocks go by their mean score over
    all groups together, or by_group the same share of each. The cut ends where the share is met as nearly
    as blocks allow. Each group keeps its last block; those that `spare` says true of lose nothing and are
    not counted. Ties are broken by position. Raises InputError if a score is not finite, or nothing can go.
    """
    open_ = [i for i in range(len(lives)) if not (spare and spare[i])]
    cut = [living.clone() for living in lives]
    for together in [[i] for i in open_] if by_group else [open_]:
        _cut(scores, cut, ratio, together, round_to)
    if all(torch.equal(one, other) for one, other in zip(cut, lives, strict=True)):
        counts = ", ".join(str(int(lives[i].sum())) for i in open_)
        raise InputError(
            f"a share of {ratio:g} of the channels is less than one block of {round_to}, or would leave a "
            f"layer with less (the groups have {counts} channels): choose a wider net (model.width), another "
            f"search.ratio, {'a smaller search.round_to, ' if round_to > BLOCK else ''}fewer search.rounds, "
            "or --search.granularity weight"
        )
    return tuple(cut)


def _cut(
    scores: Sequence[Tensor], cut: list[Tensor], ratio: float, together: Sequence[int], size: int
) -> None:
    """Take the share from these groups, in place."""
    blocks = [block for i in together for block in _blocks(i, scores[i], cut[i], size)]
    wanted = ratio * sum(int(cut[i].sum()) for i in together)
    gone = 0
    # within a group blocks rise, so that a stable sort takes them in order
    for block in sorted(blocks, key=lambda block: block.score):
        if gone + len(block.channels) - wanted > wanted - gone:  # nearer without it
            break
        cut[block.group][block.channels] = False
        gone += len(block.channels)


def _blocks(group: int, scores: Tensor, living: Tensor, size: int) -> list[_Block]:
    """What may go of a group, in blocks of so many channels, the lowest first."""
    channels = living.nonzero()[:, 0]
    found = scores[channels]
    if not bool(found.isfinite().all()):
        raise InputError(
            "weights are not finite, so nothing can be pruned: the training diverged; lower search.lr"
        )
    order = channels[torch.sort(found, stable=True).indices]
    first = len(order) % size
    sizes = [first] if first else []
    sizes += [size] * (len(order) // size)
    parts = torch.split(order, sizes)[:-1]  # the last one stays
    return [_Block(float(scores[part].mean()), group, part) for part in parts]
