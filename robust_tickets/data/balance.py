"""Orders of samples: balanced over the classes, and with few validation images of a rare class."""

from collections.abc import Sequence

import torch
from torch import Tensor

_SHARE = 5
"""A rare class gives one image in so many to validation, at most."""
_RARE = 0.9
"""A class is rare if it has less than this share of the mean number of images."""
_NAMES_SHOWN = 3


def balanced_order(labels: Tensor) -> Tensor:
    """A constant random order, int64 (N,), of which each prefix has about as many images of each class."""
    labels = labels.cpu()
    generator = torch.Generator().manual_seed(0x5EED)
    shuffled = torch.randperm(len(labels), generator=generator)
    rank = torch.empty(len(labels), dtype=torch.int64)
    for label in torch.unique(labels):
        members = shuffled[labels[shuffled] == label]
        rank[members] = torch.arange(len(members))
    # the first of each class, then the second of each class, ...; those of one rank in shuffled order
    return shuffled[torch.argsort(rank[shuffled], stable=True)]


def validation_order(labels: Tensor, images: int, names: Sequence[str] = ()) -> tuple[Tensor, list[str]]:
    """An order whose first `images` samples are for validation and the others for training, both balanced.

    names: of the classes, for the notes; empty: they have none.

    It is `balanced_order`, unless that would take more than a fifth of the images of a rare class. Then such
    a class gives a fifth, and the others more. Gives the order, int64 (N,), and lines on the rare classes.
    """
    labels = labels.cpu()
    order = balanced_order(labels)
    counts = torch.bincount(labels)
    taken = torch.bincount(labels[order[:images]], minlength=len(counts))
    present = int((counts > 0).sum())
    rare = (counts < _RARE * len(labels) / max(present, 1)) & (taken > counts // _SHARE)
    if not bool(rare.any()):
        return order, []
    quota = torch.where(rare, counts // _SHARE, counts)
    ordered = labels[order]
    rank = torch.empty_like(ordered)
    for label in range(len(counts)):
        members = ordered == label
        rank[members] = torch.arange(int(members.sum()))
    allowed = order[rank < quota[ordered]]
    if len(allowed) < images:
        return order, [f"{_listed(rare, taken, counts, names)}: hold out fewer, by data.val_images"]
    validation = allowed[:images]
    others = torch.ones(len(labels), dtype=torch.bool)
    others[validation] = False
    rest = others.nonzero()[:, 0]
    taken = torch.bincount(labels[validation], minlength=len(counts))
    order = torch.cat([validation, rest[balanced_order(labels[rest])]])
    return order, [f"{_listed(rare, taken, counts, names)}, so that the others are trained on"]


def _listed(rare: Tensor, taken: Tensor, counts: Tensor, names: Sequence[str]) -> str:
    """How many images of the rare classes are held out."""
    labels = rare.nonzero()[:, 0].tolist()
    parts = [
        f"{int(taken[label])} of the {int(counts[label])} images of {names[label] if names else label!r}"
        for label in labels[:_NAMES_SHOWN]
    ]
    more = f", and of {len(labels) - _NAMES_SHOWN} more classes" if len(labels) > _NAMES_SHOWN else ""
    classes = "a rare class" if len(labels) == 1 else "rare classes"
    return f"validation images of {classes}: {', '.join(parts)}{more}"
