"""The sets that torchvision knows, one row each: read from its folders, or fetched by it."""

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
    """How torchvision keeps a set: its class, and the folder below the root."""

    torchvision: str
    folder: tuple[str, ...]
    channels: str = "last"  # in the array of the class; "none": grey, in idx files
    labels: str = "targets"
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
"""How the training labels begin of the two sets whose files have the same names and sizes."""


def read(name: DataName, place: Path, *, download: bool, say: Callable[[str], None]) -> tuple[Split, Split]:
    """Training and test images of a set, from torchvision's root, the folder in it, or one with idx files.

    Raises InputError where they are missing or damaged, or not as many as the set has.
    """
    kept, spec = TORCHVISION_FILES[name], SPECS[name]
    depth = len(kept.folder)
    inside = depth > 0 and place.parts[-depth:] == kept.folder
    root = place.parents[depth - 1] if inside else place
    if kept.channels == "none":
        arrays = _idx(name, place, root, download, say)
    else:
        arrays = _torchvision(name, root, download, say)
    for (_, labels), part, expected in zip(
        arrays, ("training", "test"), (spec.train_images, spec.test_images), strict=True
    ):
        if len(labels) != expected:
            raise InputError(
                f"{place} has {len(labels):,} {part} images, {spec.title} has {expected:,}: fetch it again "
                "(to train on fewer images, use --data.train-images)"
            )
    train = number_samples(*arrays[0])
    return train, number_samples(*arrays[1], len(train))


def _torchvision(
    name: DataName, root: Path, download: bool, say: Callable[[str], None]
) -> list[tuple[Tensor, Tensor]]:
    """Images (N, C, H, W) and labels of both parts, read by torchvision under its checksums."""
    import torchvision.datasets

    kept, title = TORCHVISION_FILES[name], SPECS[name].title
    of = getattr(torchvision.datasets, kept.torchvision)
    if download:
        say(f"downloading {title} to {root}")
    try:
        sets = [of(str(root), **part, download=download) for part in kept.parts]
    except (URLError, OSError) as error:
        what = f"the download of {title} failed" if download else f"{root} cannot be read"
        raise InputError(f"{what} ({error}): {path_hint(name)}") from None
    except RuntimeError as error:  # torchvision's word for absent files and wrong checksums
        what = f"the download of {title} failed ({error})" if download else _none(name, root)
        raise InputError(f"{what}: {path_hint(name)}") from None
    arrays = []
    for one in sets:
        images = torch.as_tensor(one.data)
        if kept.channels == "last":
            images = images.permute(0, 3, 1, 2)
        labels = torch.as_tensor(getattr(one, kept.labels), dtype=torch.int64)
        arrays.append((images.contiguous(), labels))
    return arrays


def _idx(
    name: DataName, place: Path, root: Path, download: bool, say: Callable[[str], None]
) -> list[tuple[Tensor, Tensor]]:
    """The same from idx files, which torchvision would read without a check; it only fetches them."""
    spec = SPECS[name]
    inner = root.joinpath(*TORCHVISION_FILES[name].folder)
    if download and not idx.has_all_files(inner):
        _torchvision(name, root, download, say)
    folder = next((folder for folder in (inner, place) if idx.has_any_file(folder)), None)
    if folder is None:
        raise InputError(f"{_none(name, place)}: {path_hint(name)}")
    arrays = []
    for part, count in (("train", spec.train_images), ("test", spec.test_images)):
        images = idx.read(folder, idx.IMAGES[part], (count, *spec.shape[1:]))
        labels = idx.read(folder, idx.LABELS[part], (count,))
        if int(labels.max()) >= spec.classes:
            raise InputError(
                f"{folder} has a label {int(labels.max())} among its {part} images, and {spec.title} has "
                f"{spec.classes} classes: it is of another set or damaged; fetch it again"
            )
        for other, labels_of in FIRST_LABELS.items():
            if part == "train" and other != name and bytes(labels[: len(labels_of)]) == bytes(labels_of):
                raise InputError(
                    f"{folder} holds {SPECS[other].title}, with files named like those of {spec.title}: use "
                    f"--data.name {other}"
                )
        arrays.append((torch.from_numpy(images)[:, None], torch.from_numpy(labels.astype(np.int64))))
    return arrays


def _none(name: DataName, root: Path) -> str:
    return f"{root} holds no {SPECS[name].title}, or a damaged one"
