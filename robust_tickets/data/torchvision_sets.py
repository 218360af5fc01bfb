"""The data sets of torchvision: read from its folders, or downloaded by it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.data import idx
from robust_tickets.data.data_paths import path_hint
from robust_tickets.data.dataset import SPECS, Split, number_samples
from robust_tickets.recipe.fields import DataName


@dataclass(frozen=True)
class TorchvisionFiles:
    """The files of a data set and the class of torchvision that reads them."""

    class_name: str
    folder: tuple[str, ...]
    """below the root"""
    channels: str = "last"
    """in the array of the class: last, first, or none: grey images in idx files"""
    labels: str = "targets"
    """attribute of the class"""
    parts: tuple[dict[str, object], ...] = ({"train": True}, {"train": False})


TORCHVISION_FILES: dict[DataName, TorchvisionFiles] = {
    "cifar10": TorchvisionFiles("CIFAR10", ("cifar-10-batches-py",)),
    "cifar100": TorchvisionFiles("CIFAR100", ("cifar-100-python",)),
    "svhn": TorchvisionFiles("SVHN", (), "first", "labels", ({"split": "train"}, {"split": "test"})),
    "mnist": TorchvisionFiles("MNIST", ("MNIST", "raw"), "none"),
    "fashion-mnist": TorchvisionFiles("FashionMNIST", ("FashionMNIST", "raw"), "none"),
}

FIRST_LABELS: dict[DataName, tuple[int, ...]] = {
    "mnist": (5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3, 5, 3, 6, 1, 7),
    "fashion-mnist": (9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0, 9, 5, 5, 7, 9),
}
"""The first training labels of the two sets whose files have the same names and sizes."""


def read(name: DataName, path: Path, *, download: bool, log: Callable[[str], None]) -> tuple[Split, Split]:
    """Read the training and test images of a set.

    path: torchvision's root, the set's folder in it, or a folder with the idx files.
    Raises InputError for files that are missing or damaged, or the wrong number of images.
    """
    files, spec = TORCHVISION_FILES[name], SPECS[name]
    depth = len(files.folder)
    inside = depth > 0 and path.parts[-depth:] == files.folder
    root = path.parents[depth - 1] if inside else path
    if files.channels == "none":
        arrays = _read_idx(name, path, root, download, log)
    else:
        arrays = _read_torchvision(name, root, download, log)
    for (_, labels), part, expected in zip(
        arrays, ("training", "test"), (spec.train_images, spec.test_images), strict=True
    ):
        if len(labels) != expected:
            raise InputError(
                f"{path} has {len(labels):,} {part} images, and {spec.title} has {expected:,}: download it "
                "again (to train on fewer images, use --data.train-images)"
            )
    train = number_samples(*arrays[0])
    return train, number_samples(*arrays[1], len(train))


def _read_torchvision(
    name: DataName, root: Path, download: bool, log: Callable[[str], None]
) -> list[tuple[Tensor, Tensor]]:
    """Images (N, C, H, W) and labels of both parts, read and checked by torchvision."""
    import torchvision.datasets

    files, title = TORCHVISION_FILES[name], SPECS[name].title
    cls = getattr(torchvision.datasets, files.class_name)
    if download:
        log(f"downloading {title} to {root}")
    try:
        sets = [cls(str(root), **part, download=download) for part in files.parts]
    except (URLError, OSError) as error:
        problem = f"the download of {title} failed" if download else f"{root} cannot be read"
        raise InputError(f"{problem} ({error}): {path_hint(name)}") from None
    except RuntimeError as error:  # raised by torchvision for absent files and wrong checksums
        problem = f"the download of {title} failed ({error})" if download else _missing(name, root)
        raise InputError(f"{problem}: {path_hint(name)}") from None
    arrays = []
    for part in sets:
        images = torch.as_tensor(part.data)
        if files.channels == "last":
            images = images.permute(0, 3, 1, 2)
        labels = torch.as_tensor(getattr(part, files.labels), dtype=torch.int64)
        arrays.append((images.contiguous(), labels))
    return arrays


def _read_idx(
    name: DataName, path: Path, root: Path, download: bool, log: Callable[[str], None]
) -> list[tuple[Tensor, Tensor]]:
    """The same from idx files, which torchvision downloads, but reads without a check."""
    spec = SPECS[name]
    inner = root.joinpath(*TORCHVISION_FILES[name].folder)
    if download and idx.count_files(inner) < 4:
        _read_torchvision(name, root, download, log)
    folder = next((folder for folder in (inner, path) if idx.count_files(folder)), None)
    if folder is None:
        raise InputError(f"{_missing(name, path)}: {path_hint(name)}")
    arrays = []
    for part, count in (("train", spec.train_images), ("test", spec.test_images)):
        images = idx.read(folder, idx.IMAGES[part], (count, *spec.shape[1:]))
        labels = idx.read(folder, idx.LABELS[part], (count,))
        if int(labels.max()) >= spec.classes:
            raise InputError(
                f"{folder} has a label {int(labels.max())} among its {part} images, and {spec.title} has "
                f"{spec.classes} classes, so it is of another set or damaged: download it again"
            )
        for other, first in FIRST_LABELS.items():
            if part == "train" and other != name and bytes(labels[: len(first)]) == bytes(first):
                raise InputError(
                    f"{folder} holds {SPECS[other].title}, whose files are named like those of {spec.title}: "
                    f"use --data.name {other}"
                )
        arrays.append((torch.from_numpy(images)[:, None], torch.from_numpy(labels.astype(np.int64))))
    return arrays


def _missing(name: DataName, root: Path) -> str:
    return f"{root} holds no {SPECS[name].title}, or a damaged one"
