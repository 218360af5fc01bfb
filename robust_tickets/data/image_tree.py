"""CIFAR-10 as image files: a tree with known classes and a known image size, or an archive of one."""

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.data import archives
from robust_tickets.data.image_decoding import Rows, decode_parts, read_header

_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg")
_LARGEST_FILE = 1 << 20  # bytes; a 32 x 32 image takes a few kB


def decode(
    root: Path, classes: Sequence[str], shape: tuple[int, int, int], log: Callable[[str], None]
) -> dict[str, Tensor]:
    """Decode a tree `train/<class>/*.png|jpg` and `test/<class>/*`, or an archive (tar, zip) of one.

    classes: names of the classes, in the order of their labels.
    shape: of an image, (C, H, W).

    Gives uint8 images (N, C, H, W) and int64 labels (N,) as train_images, train_labels, test_images and
    test_labels, ordered by class and file name, and `lossy`: whether any file is a JPEG.

    Raises InputError for a damaged archive, another class, or an image of another size.
    """
    log(f"decoding {root.name} (once; the images are cached)")
    height, width = shape[1:]
    names: dict[tuple[str, str], set[str]] = {}
    lossy = False
    for entry in archives.entries(root, _LARGEST_FILE):
        if not _is_image_of_a_class(entry.name):
            continue
        part, class_name = PurePosixPath(entry.name).parts[-3:-1]
        if class_name not in classes:
            raise InputError(
                f"{root} has the class {class_name!r} ({entry.name}): expected {', '.join(classes)}"
            )
        header = read_header(entry, ("PNG", "JPEG"))
        if header.size != (width, height):
            raise InputError(
                f"{entry.name} is {header.size[0]} x {header.size[1]} pixels, expected {width} x {height}"
            )
        lossy = lossy or header.format != "PNG"
        names.setdefault((part, class_name), set()).add(entry.name)
    parts: dict[str, Rows] = {"train": [], "test": []}
    for part, rows in parts.items():
        for label, class_name in enumerate(classes):
            if (part, class_name) not in names:
                raise InputError(
                    f"{root} has no images {part}/{class_name}/*.png or *.jpg: give a tree of both train and "
                    "test, with a folder for each class"
                )
            rows += [(name, label) for name in sorted(names[part, class_name])]
    return decode_parts(root, parts, shape, _LARGEST_FILE) | {"lossy": torch.tensor(lossy)}


def _is_image_of_a_class(name: str) -> bool:
    path = PurePosixPath(name)
    return len(path.parts) >= 3 and path.parts[-3] in ("train", "test") and path.suffix.lower() in _SUFFIXES
