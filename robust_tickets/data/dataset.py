"""Data sets in memory, and the specs of the named ones."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.data.balance import balanced_order, validation_order
from robust_tickets.recipe.fields import Data, DataName


@dataclass(frozen=True)
class Spec:
    """A data set's shape, size, normalisation and augmentation; those of named sets are in SPECS."""

    title: str
    """name in tables"""
    shape: tuple[int, int, int]
    """of an image: channels, height, width"""
    classes: int
    train_images: int
    test_images: int
    mean: tuple[float, ...]
    """of the training images, one a channel, for pixels in [0, 1]; the network's first layer normalises"""
    std: tuple[float, ...]
    """standard deviation of the training images, likewise"""
    crop_padding: int
    """pixels of padding on each side for padded random crops"""
    flip: bool
    """whether training images are flipped horizontally at random"""
    labels: tuple[str, ...] = ()
    """names of the classes, if known"""


SPECS: dict[DataName, Spec] = {
    # 1,797 images; a fifth is the test set, since scikit-learn has none
    "digits": Spec(
        "digits (scikit-learn)", (1, 8, 8), 10, 1437, 360, (0.306,), (0.376,), crop_padding=1, flip=False
    ),
    # mean and std as published; Fashion-MNIST's are computed from its files
    "cifar10": Spec(
        "CIFAR-10",
        (3, 32, 32),
        10,
        50_000,
        10_000,
        (0.4914, 0.4822, 0.4465),
        (0.2470, 0.2435, 0.2616),
        crop_padding=4,
        flip=True,
    ),
    "cifar100": Spec(
        "CIFAR-100",
        (3, 32, 32),
        100,
        50_000,
        10_000,
        (0.5071, 0.4865, 0.4409),
        (0.2673, 0.2564, 0.2762),
        crop_padding=4,
        flip=True,
    ),
    # without the extra images
    "svhn": Spec(
        "SVHN",
        (3, 32, 32),
        10,
        73_257,
        26_032,
        (0.4377, 0.4438, 0.4728),
        (0.1980, 0.2010, 0.1970),
        crop_padding=4,
        flip=False,
    ),
    "mnist": Spec("MNIST", (1, 28, 28), 10, 60_000, 10_000, (0.1307,), (0.3081,), crop_padding=2, flip=False),
    "fashion-mnist": Spec(
        "Fashion-MNIST", (1, 28, 28), 10, 60_000, 10_000, (0.2860,), (0.3530,), crop_padding=2, flip=True
    ),
}


@dataclass(frozen=True)
class Split:
    """Some samples: images uint8 (N, C, H, W), labels int64 (N,) and constant ids int64 (N,)."""

    images: Tensor
    labels: Tensor
    ids: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor) -> "Split":
        """The samples in these rows, int64 (N,), in this order."""
        return Split(self.images[rows], self.labels[rows], self.ids[rows])

    def first(self, n: int) -> "Split":
        """A constant subset of n images, balanced over the classes; 0: all, in balanced order.

        Raises InputError if there are fewer than n, or none at all.
        """
        if not len(self):
            raise InputError("this split has no images: choose another one")
        if n > len(self):
            raise InputError(f"{n} images are more than the {len(self)} that there are: choose fewer")
        return self.take(balanced_order(self.labels)[: n or len(self)])

    def to(self, device: str) -> "Split":
        """A copy in a device's memory."""
        return Split(self.images.to(device), self.labels.to(device), self.ids.to(device))


def number_samples(images: Tensor, labels: Tensor, first: int = 0) -> Split:
    """A split with ids counted from `first`."""
    return Split(images, labels, torch.arange(first, first + len(labels)))


@dataclass(frozen=True)
class Dataset:
    """Training, validation and test images; the validation images are the same for all seeds."""

    spec: Spec
    title: str
    """name in tables"""
    train: Split
    val: Split
    test: Split
    fingerprint: str
    """16 hex digits of the pixels and labels as read, before any split"""

    def to(self, device: str) -> "Dataset":
        """The images on a torch device."""
        parts = {name: getattr(self, name).to(device) for name in ("train", "val", "test")}
        return replace(self, **parts)


def count_training_images(data: Data, spec: Spec) -> int:
    """The number of images that are trained on. Raises InputError if the set has too few."""
    pool = spec.train_images
    if not pool:
        raise InputError(
            "there are test images alone, and training needs others: give train/<class>/* beside test/"
        )
    if data.val_images + max(data.train_images, 1) > pool:
        if not data.train_images:
            raise InputError(
                f"data.val_images {data.val_images} leaves none of the {pool} training images of {data.name} "
                f"to train on: hold out fewer, such as {max(1, pool // 10)}"
            )
        raise InputError(
            f"data.train_images {data.train_images} and data.val_images {data.val_images} are together more "
            f"than the {pool} training images of {data.name}: choose fewer"
        )
    return data.train_images or pool - data.val_images


def hold_out_validation(
    data: Data,
    spec: Spec,
    title: str,
    train: Split,
    test: Split,
    log: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """Split `train` into validation images and `data.train_images` training images, always the same ones.

    log: is told of classes that are so rare that fewer of their images are held out than of the others.
    """
    n = count_training_images(data, spec)
    order, notes = validation_order(train.labels, data.val_images, spec.labels)
    for note in notes:
        log(note)
    val = train.take(order[: data.val_images])
    rest = train.take(order[data.val_images : data.val_images + n])
    return Dataset(spec, title, rest, val, test, fingerprint(train, test))


def fingerprint(train: Split, test: Split) -> str:
    """Sixteen hex digits of all pixels and labels."""
    digest = hashlib.sha256()
    for part in (train, test):
        digest.update(part.images.numpy().tobytes())
        digest.update(part.labels.numpy().tobytes())
    return digest.hexdigest()[:16]
