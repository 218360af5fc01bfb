"""What a data set is, in words, and a picture of its training images as they are augmented."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from robust_tickets.data.batches import batches
from robust_tickets.data.dataset import Dataset, Split
from robust_tickets.runs import files

_ROWS = 20
"""Classes in the picture, at most."""
_COLUMNS = 4
"""Images of a class in the picture, each followed by its augmented copy."""
_SMALLEST = 48
"""Pixels of the side of an image in the picture, at least."""
_GAP = 2


def describe_dataset(dataset: Dataset) -> str:
    """Sizes of the parts, the image, the augmentation, and a line a class: label, name, images of parts."""
    spec = dataset.spec
    channels, height, width = spec.shape
    flip = " and a horizontal flip" if spec.flip else ""
    parts = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    counts = {name: torch.bincount(part.labels, minlength=spec.classes) for name, part in parts.items()}
    names = [spec.labels[label] if spec.labels else "" for label in range(spec.classes)]
    width_of_name = max(map(len, ("class", *names)))
    lines = [
        dataset.title,
        f"images: {', '.join(f'{len(part):,} {name}' for name, part in parts.items())}",
        f"each: {width} x {height} pixels, {'grey' if channels == 1 else 'RGB'}, 8 bits a channel",
        f"mean {_numbers(spec.mean)}, standard deviation {_numbers(spec.std)}, for pixels in [0, 1]",
        f"augmentation: a random crop with a padding of {spec.crop_padding} pixels{flip}",
        f"fingerprint: {dataset.fingerprint}",
        "",
        f"{'label':>5}  {'class':<{width_of_name}}  " + "  ".join(f"{name:>7}" for name in parts),
    ]
    for label, name in enumerate(names):
        cells = "  ".join(f"{int(count[label]):>7,}" for count in counts.values())
        lines.append(f"{label:>5}  {name:<{width_of_name}}  {cells}")
    return "\n".join(lines)


def write_contact_sheet(dataset: Dataset, file: Path, seed: int) -> str:
    """Write a PNG with a row a class: pairs of a training image and what the network is trained on.

    seed: of the augmentation.
    Where there are no training images, test images are shown as they are. Gives a line on the picture.
    """
    part = dataset.train if len(dataset.train) else dataset.test
    rows = [_first_of_class(part, label) for label in range(min(dataset.spec.classes, _ROWS))]
    chosen = part.take(torch.cat(rows))
    augmented = dict(zip(chosen.ids.tolist(), chosen.images, strict=True))
    if len(dataset.train):
        drawn = batches(chosen, dataset.spec, len(chosen), seed=seed, epoch=0, channels_last=False)
        for images, _, ids, *_ in drawn:
            pixels = (images * 255).round().to(torch.uint8)
            augmented |= dict(zip(ids.tolist(), pixels, strict=True))
    scale = -(-_SMALLEST // min(dataset.spec.shape[1:]))
    channels, height, width = dataset.spec.shape
    cell = (height * scale + _GAP, width * scale + _GAP)
    sheet = np.full((len(rows) * cell[0] + _GAP, 2 * _COLUMNS * cell[1] + _GAP, channels), 128, np.uint8)
    for row, members in enumerate(rows):
        for column, index in enumerate(members.tolist()):
            copies = [augmented[int(part.ids[index])]] if len(dataset.train) else []
            for place, image in enumerate([part.images[index], *copies]):
                top, left = _GAP + row * cell[0], _GAP + (2 * column + place) * cell[1]
                tile = _enlarged(image, scale)
                sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    picture = Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
    files.write(file, lambda partial: picture.save(partial, format="PNG"))
    kind = "training images, each beside its augmented copy" if len(dataset.train) else "test images"
    return f"{file}: {kind}, a row a class from label 0 on"


def _first_of_class(part: Split, label: int) -> Tensor:
    return (part.labels == label).nonzero()[:_COLUMNS, 0]


def _enlarged(image: Tensor, scale: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """An image (C, H, W) as (H, W, C), each pixel a square."""
    pixels = image.repeat_interleave(scale, 1).repeat_interleave(scale, 2).permute(1, 2, 0)
    return np.ascontiguousarray(pixels.cpu().numpy())


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
