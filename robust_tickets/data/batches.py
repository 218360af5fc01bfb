"""Training batches, augmented on the device from uint8 images."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.base.process_group import ALONE, ProcessGroup
from robust_tickets.data.augmentation import Augmentation
from robust_tickets.data.dataset import Spec, Split


def steps_per_epoch(images: int, batch: int, field: str = "batch") -> int:
    """The number of whole batches in an epoch; the rest of the images is left out, other ones in each epoch.

    field: the batch's name in messages.
    Raises InputError if there is not one whole batch.
    """
    if batch > images:
        raise InputError(
            f"{field} {batch} is larger than the {images} training images: choose a smaller {field}"
        )
    return images // batch


class TrainingImages(NamedTuple):
    """A batch of training images.

    images: float32 (B, C, H, W) in [0, 1], augmented.
    labels, ids: int64 (B,).
    rows: int64 (B,), where the images stand in their split.
    augmentation: how each was cropped and flipped.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor
    rows: Tensor
    augmentation: Augmentation


def batches(
    split: Split,
    spec: Spec,
    batch: int,
    *,
    seed: int,
    epoch: int,
    channels_last: bool,
    group: ProcessGroup = ALONE,
) -> Iterator[TrainingImages]:
    """One epoch of shuffled and augmented batches, of each the share of this process of a group.

    Order and augmentation depend on (seed, epoch) alone, so that any epoch can be drawn again, and all arms
    of a seed see the same batches.
    """
    steps = steps_per_epoch(len(split), batch)
    # on the CPU, so that a GPU gets the same epoch
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) & (2**63 - 1))
    order = torch.randperm(len(split), generator=generator)[: steps * batch]
    device = split.images.device
    offsets = 2 * spec.crop_padding + 1
    down, right = torch.randint(offsets, (2, len(order)), generator=generator).to(device)
    flip = (torch.rand(len(order), generator=generator) < 0.5).to(device) & spec.flip
    order = order.to(device)
    for step in range(steps):
        share = group.part(batch)
        part = slice(step * batch + share.start, step * batch + share.stop)
        rows = order[part]
        augmentation = Augmentation(down[part], right[part], flip[part], spec.crop_padding)
        images = to_float(augmentation.apply(split.images[rows]), channels_last)
        yield TrainingImages(images, split.labels[rows], split.ids[rows], rows, augmentation)


def to_float(images: Tensor, channels_last: bool) -> Tensor:
    """uint8 images as float32 in [0, 1], in the channels-last or the default memory format."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    # by a number on the device: GPUs take a division by one of the host as a product with its reciprocal,
    # which is another float32 for every second pixel value
    largest = torch.full((), 255.0, device=images.device)
    return images.to(torch.float32).div_(largest).contiguous(memory_format=layout)
