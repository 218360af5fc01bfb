"""Loads a data set by its name and path."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.data import cache, folder, image_tree, torchvision_sets
from robust_tickets.data.balance import balanced_order
from robust_tickets.data.data_paths import check_data_path, data_path
from robust_tickets.data.dataset import SPECS, Dataset, hold_out_validation, number_samples
from robust_tickets.recipe.fields import Data

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load(data: Data, log: Callable[[str], None] = lambda line: None) -> Dataset:
    """Load a data set into memory.

    log: called with a line before a download and the first decoding of an archive, and for files left out.
    Raises InputError for a set that is missing, damaged or too small.
    """
    check_data_path(data)
    if data.name == "own":
        raise InputError(
            "own images are passed in Python (robust_tickets.images): or put files into folders by class and "
            "use --data.name folder"
        )
    if data.name == "digits":
        return _digits(data)
    if data.name == "folder":
        return folder.load(data, log)
    root = data_path(data)
    if data.name == "cifar10" and not data.download and (root.is_file() or (root / "train").is_dir()):
        return _cifar10_images(data, root, log)
    train, test = torchvision_sets.read(data.name, root, download=data.download, log=log)
    return hold_out_validation(data, SPECS[data.name], SPECS[data.name].title, train, test, log)


def _digits(data: Data) -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    images = number_samples(torch.from_numpy(pixels), torch.from_numpy(bunch.target.astype(np.int64)))
    order = balanced_order(images.labels)
    spec = SPECS["digits"]
    train, test = images.take(order[spec.test_images :]), images.take(order[: spec.test_images])
    return hold_out_validation(data, spec, spec.title, train, test)


def _cifar10_images(data: Data, root: Path, log: Callable[[str], None]) -> Dataset:
    """CIFAR-10 from a tree of image files or an archive of one."""
    parts = cache.load_or_decode("cifar10", root, lambda: _decode_cifar10(root, log), log)
    train = number_samples(parts["train_images"], parts["train_labels"])
    test = number_samples(parts["test_images"], parts["test_labels"], len(train))
    spec = SPECS["cifar10"]
    return hold_out_validation(
        data, spec, "CIFAR-10 (JPEG copy)" if bool(parts["lossy"]) else spec.title, train, test
    )


def _decode_cifar10(root: Path, log: Callable[[str], None]) -> dict[str, Tensor]:
    spec = SPECS["cifar10"]
    parts = image_tree.decode(root, CIFAR10_CLASSES, spec.shape, log)
    for part, expected in (("train", spec.train_images), ("test", spec.test_images)):
        n = len(parts[f"{part}_labels"])
        if n != expected:
            raise InputError(
                f"{root} has {n:,} {part} images, and CIFAR-10 has {expected:,}: download it again "
                "(to train on fewer images, use --data.train-images)"
            )
    return parts
