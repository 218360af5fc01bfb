"""Batches made on the device from images that lie there as uint8."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import Spec, Split


def steps_per_epoch(images: int, batch: int) -> int:
    """Whole batches in an epoch; the rest is left out, as each epoch is shuffled anew.

    Raises InputError if there is not even one.
    """
    if batch > images:
        raise InputError(
            f"a batch of {batch} is more than the {images} training images: choose a smaller batch"
        )
    return images // batch


def batches(
    split: Split, spec: Spec, batch: int, *, seed: int, epoch: int, channels_last: bool
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """One epoch of shuffled, augmented batches: images float32 (B, C, H, W) in [0, 1], labels and ids (B,).

    Order and augmentation hang on (seed, epoch) alone, so that an epoch can be had again by itself, and all
    arms of a seed see the same batches.
    """
    steps = steps_per_epoch(len(split), batch)
    # drawn on the host, so that a GPU sees the same epoch
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) & (2**63 - 1))
    order = torch.randperm(len(split), generator=generator)[: steps * batch]
    device = split.images.device
    span = 2 * spec.crop_padding + 1
    down, right = torch.randint(span, (2, len(order)), generator=generator).to(device)
    flip = (torch.rand(len(order), generator=generator) < 0.5).to(device) & spec.flip
    order = order.to(device)
    for step in range(steps):
        at = slice(step * batch, (step + 1) * batch)
        rows = order[at]
        moved = crop_and_flip(split.images[rows], down[at], right[at], flip[at], spec.crop_padding)
        yield to_float(moved, channels_last), split.labels[rows], split.ids[rows]


def crop_and_flip(images: Tensor, down: Tensor, right: Tensor, flip: Tensor, padding: int) -> Tensor:
    """Pad with zeros, crop each image at its own (down, right) in 0..2*padding, flip where asked: one gather.

    images (B, C, H, W); down, right int64 (B,); flip bool (B,). The result is laid out channels last.
    """
    n, _, height, width = images.shape
    padded = F.pad(images, (padding, padding, padding, padding))
    column = torch.arange(width, device=images.device).expand(n, width)
    column = torch.where(flip[:, None], width - 1 - column, column) + right[:, None]
    row = torch.arange(height, device=images.device) + down[:, None]
    sample = torch.arange(n, device=images.device)[:, None, None]
    return padded[sample, :, row[:, :, None], column[:, None, :]].permute(0, 3, 1, 2)


def to_float(images: Tensor, channels_last: bool) -> Tensor:
    """The uint8 images as float32 in [0, 1], in the memory format asked for."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return images.to(torch.float32).div_(255).contiguous(memory_format=layout)
