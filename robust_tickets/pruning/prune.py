"""The cut: scores and mask in, a sparser mask out."""

from collections.abc import Mapping

import torch
from torch import Tensor

from robust_tickets.errors import InputError
from robust_tickets.pruning.mask import Mask


def prune(scores: Mapping[str, Tensor], mask: Mask, ratio: float) -> Mask:
    """Remove the share `ratio` of the weights still kept, those of lowest score over all layers together.

    Exactly round(ratio * kept) go; ties are broken by position, in the net's order of parameters, the earlier
    first (a threshold would take too many or too few). Raises InputError if a score is not finite, or a layer
    would be left without a single weight.
    """
    flat = torch.cat([scores[name].flatten().to(torch.float64) for name in mask])
    kept = torch.cat([mask[name].flatten() for name in mask])
    if not bool(flat[kept].isfinite().all()):
        raise InputError(
            "weights are not finite, so nothing can be pruned: the training diverged; lower search.lr"
        )
    candidates = kept.nonzero()[:, 0]
    remove = round(ratio * len(candidates))
    # candidates are in order of position, and a stable sort leaves ties so
    lowest = torch.sort(flat[candidates], stable=True).indices[:remove]
    kept[candidates[lowest]] = False
    parts = torch.split(kept, [mask[name].numel() for name in mask])
    pruned = Mask({name: part.reshape(mask[name].shape) for name, part in zip(mask, parts, strict=True)})
    for name in pruned:
        if not bool(pruned[name].any()):
            raise InputError(
                f"pruning a share of {ratio:g} leaves nothing of {name}: lower search.ratio, or let "
                "search.scores be magnitude-over-layer-mean"
            )
    return pruned
