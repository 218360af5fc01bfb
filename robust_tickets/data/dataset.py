"""What a data set is once it lies in memory."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.fields import Data, DataName


@dataclass(frozen=True)
class Spec:
    """What is known of a data set before training: of a named one before it is read.

    `mean` and `std` (one a channel, for pixels in [0, 1]) become the net's first layer. Augmentation belongs
    to the data set: images are shifted by up to `shift` pixels and, where that leaves the class alone,
    flipped.
    """

    title: str
    shape: tuple[int, int, int]
    classes: int
    train_images: int
    test_images: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int
    flip: bool
    labels: tuple[str, ...] = ()
    """names of the classes, where the data bring them"""


SPECS: dict[DataName, Spec] = {
    # 1,797 images; the last fifth is our test set, since scikit-learn has none
    "digits": Spec(
        "digits (scikit-learn)", (1, 8, 8), 10, 1437, 360, (0.306,), (0.376,), crop_padding=1, flip=False
    ),
    # mean and std of the training images, as published; Fashion-MNIST's were computed from its files
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
    # without its extra images
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
    """Images uint8 (N, C, H, W), labels int64 (N,), and ids int64 (N,): each sample's constant number."""

    images: Tensor
    labels: Tensor
    ids: Tensor

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)

    def take(self, rows: Tensor) -> "Split":
        """The samples at these places, in this order."""
        return Split(self.images[rows], self.labels[rows], self.ids[rows])

    def first(self, n: int) -> "Split":
        """A constant subset of n images, balanced over the classes; 0 means all, in balanced order.

        Raises InputError if there are fewer than n.
        """
        if n > len(self):
            raise InputError(f"{n} images were asked for, but there are {len(self)}: ask for fewer")
        return self.take(balanced_order(self.labels)[: n or len(self)])

    def to(self, device: str) -> "Split":
        """The split in that device's memory."""
        return Split(self.images.to(device), self.labels.to(device), self.ids.to(device))


def number_samples(images: Tensor, labels: Tensor, first: int = 0) -> Split:
    """A split whose ids count up from `first`."""
    return Split(images, labels, torch.arange(first, first + len(labels)))


@dataclass(frozen=True)
class Dataset:
    """Train, validation and test images. Validation is held out of the training images, the same for all
    seeds.

    `fingerprint` is 16 hex digits of the pixels and labels as read, before any split; `title` is what tables
    call the data.
    """

    spec: Spec
    title: str
    train: Split
    val: Split
    test: Split
    fingerprint: str


def training_images(data: Data, spec: Spec) -> int:
    """How many images are trained on. Raises InputError where more are asked for than the set has."""
    pool = spec.train_images
    if data.val_images + max(data.train_images, 1) > pool:
        raise InputError(
            f"data.train_images {data.train_images} and data.val_images {data.val_images} together are more "
            f"than the {pool} training images of {data.name}: choose fewer"
        )
    return data.train_images or pool - data.val_images


def hold_out_validation(data: Data, spec: Spec, title: str, train: Split, test: Split) -> Dataset:
    """Hold validation images out of `train` by a constant split; keep as many of the others as asked for."""
    n = training_images(data, spec)
    order = balanced_order(train.labels)
    val = train.take(order[: data.val_images])
    chosen = train.take(order[data.val_images : data.val_images + n])
    return Dataset(spec, title, chosen, val, test, fingerprint(train, test))


def fingerprint(train: Split, test: Split) -> str:
    """Sixteen hex digits of all pixels and labels."""
    digest = hashlib.sha256()
    for part in (train, test):
        digest.update(part.images.numpy().tobytes())
        digest.update(part.labels.numpy().tobytes())
    return digest.hexdigest()[:16]


def balanced_order(labels: Tensor) -> Tensor:
    """A constant shuffled order, int64 (N,), in which every prefix holds the classes about equally often."""
    labels = labels.cpu()
    generator = torch.Generator().manual_seed(0x5EED)
    shuffled = torch.randperm(len(labels), generator=generator)
    rank = torch.empty(len(labels), dtype=torch.int64)
    for label in torch.unique(labels):
        members = shuffled[labels[shuffled] == label]
        rank[members] = torch.arange(len(members))
    # the first of every class, then the second of every class, ...; within a rank in shuffled order
    return shuffled[torch.argsort(rank[shuffled], stable=True)]
