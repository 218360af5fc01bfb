"""From a data set's name and place to tensors in memory."""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch

from robust_tickets.data import cache, images
from robust_tickets.data.dataset import SPECS, Dataset, Split, balanced_order, split
from robust_tickets.errors import InputError
from robust_tickets.recipe import Data

CIFAR10_VARIABLE = "ROBUST_TICKETS_CIFAR10"
"""Environment variable with the place of CIFAR-10, where the recipe has none."""

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_GET_CIFAR10 = (
    "give its place by --data.root (torchvision's folder, a tree train/<class>/*.png and test/<class>/*.png "
    f"or a tar archive of one), by the environment variable {CIFAR10_VARIABLE}, or add --data.download"
)


def load(data: Data, say: Callable[[str], None] = lambda line: None) -> Dataset:
    """The data set, whole in memory. Raises InputError where it is missing, damaged or too small.

    `say` is told of work that takes a while: a download, the first decoding of an archive.
    """
    check_place(data)
    if data.name == "digits":
        return _digits(data)
    return _cifar10(data, say)


def check_place(data: Data) -> None:
    """Raise InputError for a place of images that have none."""
    if data.name == "digits" and (data.root is not None or data.download):
        raise InputError("the digits are embedded: leave out --data.root and --data.download")


def _digits(data: Data) -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    whole = _numbered(torch.from_numpy(pixels), torch.from_numpy(bunch.target.astype(np.int64)), 0)
    order = balanced_order(whole.labels)
    test = SPECS["digits"].test_images
    return split(data, SPECS["digits"].title, whole.take(order[test:]), whole.take(order[:test]))


def _cifar10(data: Data, say: Callable[[str], None]) -> Dataset:
    root = data.root or (Path(place) if (place := os.environ.get(CIFAR10_VARIABLE)) else None)
    if root is None and not data.download:
        raise InputError(f"where is CIFAR-10? {_GET_CIFAR10}")
    if data.download and root is not None and root.is_file():
        raise InputError(f"{root} is a file, and a download needs a folder: leave out --data.download")
    if data.download:
        return _torchvision(data, root or cache.folder() / "torchvision", say)
    assert root is not None
    if not root.exists():
        raise InputError(f"there is no {root}: {_GET_CIFAR10}")
    if root.is_dir() and not (root / "train").is_dir():
        return _torchvision(data, root, say)
    parts = cache.cached("cifar10", root, lambda: _decoded(root, say), say)
    train = _numbered(parts["train_images"], parts["train_labels"], 0)
    test = _numbered(parts["test_images"], parts["test_labels"], len(train))
    title = "CIFAR-10 (JPEG copy)" if bool(parts["lossy"]) else SPECS["cifar10"].title
    return split(data, title, train, test)


def _decoded(root: Path, say: Callable[[str], None]) -> dict[str, torch.Tensor]:
    spec = SPECS["cifar10"]
    parts = images.decode(root, CIFAR10_CLASSES, spec.shape, say)
    for part, expected in (("train", spec.train_images), ("test", spec.test_images)):
        n = len(parts[f"{part}_labels"])
        if n != expected:
            raise InputError(
                f"{root} has {n:,} {part} images, CIFAR-10 has {expected:,}: it is cut short or another set; "
                "fetch it again (to train on fewer images, use --data.train-images)"
            )
    return parts


def _torchvision(data: Data, root: Path, say: Callable[[str], None]) -> Dataset:
    from torchvision.datasets import CIFAR10

    if root.name == CIFAR10.base_folder:
        root = root.parent
    if data.download:
        say(f"downloading CIFAR-10 to {root}")
    try:
        sets = [CIFAR10(str(root), train=train, download=data.download) for train in (True, False)]
    except (URLError, OSError) as error:
        what = "the download of CIFAR-10 failed" if data.download else f"{root} cannot be read"
        raise InputError(f"{what} ({error}): {_GET_CIFAR10}") from None
    except RuntimeError:  # torchvision's word for absent files and wrong checksums
        raise InputError(f"{root} holds no CIFAR-10, or a damaged one: {_GET_CIFAR10}") from None
    pixels = [torch.from_numpy(s.data).permute(0, 3, 1, 2).contiguous() for s in sets]
    labels = [torch.tensor(s.targets) for s in sets]
    train = _numbered(pixels[0], labels[0], 0)
    return split(data, SPECS["cifar10"].title, train, _numbered(pixels[1], labels[1], len(train)))


def _numbered(pixels: torch.Tensor, labels: torch.Tensor, first: int) -> Split:
    return Split(pixels, labels, torch.arange(first, first + len(labels)))
