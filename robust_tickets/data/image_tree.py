"""A tree of image files whose classes and size are known, as the one CIFAR-10 is often unpacked to."""

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.data import archives, image_decoding

_SUFFIXES = (".png", ".jpg", ".jpeg")
_LARGEST_FILE = 1 << 20  # a 32 x 32 image takes a few kB; more than a megabyte is something else


def decode(
    root: Path, classes: Sequence[str], shape: tuple[int, int, int], say: Callable[[str], None]
) -> dict[str, Tensor]:
    """Decode a tree `train/<class>/*.png|jpg` and `test/<class>/*`, or an archive (tar, zip) of one.

    Gives uint8 images (N, C, H, W) and int64 labels (N,) as train_images, train_labels, test_images and
    test_labels, ordered by class and file name, and `lossy`: whether any file was a JPEG. Raises InputError
    for an archive that is damaged or none, classes other than `classes`, or images of another size.
    """
    say(f"decoding {root.name} (once; the arrays are kept in the cache)")
    height, width = shape[1:]
    found: dict[tuple[str, str], set[str]] = {}
    lossy = False
    for entry in archives.entries(root, _LARGEST_FILE):
        if not _wanted(entry.name):
            continue
        part, label_name = PurePosixPath(entry.name).parts[-3:-1]
        if label_name not in classes:
            raise InputError(
                f"{root} has the class {label_name!r} ({entry.name}): expected {', '.join(classes)}"
            )
        head = image_decoding.read_header(entry, ("PNG", "JPEG"))
        if head.size != (width, height):
            raise InputError(
                f"{entry.name} is {head.size[0]} x {head.size[1]} pixels, expected {width} x {height}"
            )
        lossy = lossy or head.format != "PNG"
        found.setdefault((part, label_name), set()).add(entry.name)
    arrays: dict[str, Tensor] = {}
    places: dict[str, tuple[image_decoding.Pixels, int]] = {}
    for part in ("train", "test"):
        for label_name in classes:
            if (part, label_name) not in found:
                raise InputError(
                    f"{root} has no images {part}/{label_name}/*.png or *.jpg: expected a tree of both "
                    "train and test, with a folder for each class"
                )
        names = [(name, n) for n, label in enumerate(classes) for name in sorted(found[part, label])]
        array = np.empty((len(names), *shape), np.uint8)
        places |= {name: (array, row) for row, (name, _) in enumerate(names)}
        arrays[f"{part}_images"] = torch.from_numpy(array)
        arrays[f"{part}_labels"] = torch.tensor([number for _, number in names])
    image_decoding.decode_into(archives.entries(root, _LARGEST_FILE), places)
    arrays["lossy"] = torch.tensor(lossy)
    return arrays


def _wanted(name: str) -> bool:
    path = PurePosixPath(name)
    return len(path.parts) >= 3 and path.parts[-3] in ("train", "test") and path.suffix.lower() in _SUFFIXES
