"""From a data set's name and place to tensors in memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.data import cache, folder, image_tree, torchvision_sets
from robust_tickets.data.data_paths import check_data_path, data_path
from robust_tickets.data.dataset import SPECS, Dataset, balanced_order, hold_out_validation, number_samples
from robust_tickets.recipe.fields import Data

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load(data: Data, say: Callable[[str], None] = lambda line: None) -> Dataset:
    """The data set, whole in memory. Raises InputError where it is missing, damaged or too small.

    `say` is told of work that takes a while (a download, the first decoding of an archive) and, when a folder
    is first read, of what was left out of it.
    """
    check_data_path(data)
    if data.name == "own":
        raise InputError(
            "own images are handed over in Python (robust_tickets.data.from_tensors): to name a place, put "
            "image files into folders by class and use --data.name folder"
        )
    if data.name == "digits":
        return _digits(data)
    if data.name == "folder":
        return folder.load(data, say)
    root = data_path(data)
    if data.name == "cifar10" and not data.download and (root.is_file() or (root / "train").is_dir()):
        return _cifar10_images(data, root, say)
    train, test = torchvision_sets.read(data.name, root, download=data.download, say=say)
    return hold_out_validation(data, SPECS[data.name], SPECS[data.name].title, train, test)


def _digits(data: Data) -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    whole = number_samples(torch.from_numpy(pixels), torch.from_numpy(bunch.target.astype(np.int64)))
    order = balanced_order(whole.labels)
    spec = SPECS["digits"]
    train, test = whole.take(order[spec.test_images :]), whole.take(order[: spec.test_images])
    return hold_out_validation(data, spec, spec.title, train, test)


def _cifar10_images(data: Data, root: Path, say: Callable[[str], None]) -> Dataset:
    """CIFAR-10 from a tree of image files or an archive of one."""
    parts = cache.load_or_decode("cifar10", root, lambda: _decoded(root, say), say)
    train = number_samples(parts["train_images"], parts["train_labels"])
    test = number_samples(parts["test_images"], parts["test_labels"], len(train))
    spec = SPECS["cifar10"]
    return hold_out_validation(
        data, spec, "CIFAR-10 (JPEG copy)" if bool(parts["lossy"]) else spec.title, train, test
    )


def _decoded(root: Path, say: Callable[[str], None]) -> dict[str, Tensor]:
    spec = SPECS["cifar10"]
    parts = image_tree.decode(root, CIFAR10_CLASSES, spec.shape, say)
    for part, expected in (("train", spec.train_images), ("test", spec.test_images)):
        n = len(parts[f"{part}_labels"])
        if n != expected:
            raise InputError(
                f"{root} has {n:,} {part} images, CIFAR-10 has {expected:,}: it is cut short or another set; "
                "fetch it again (to train on fewer images, use --data.train-images)"
            )
    return parts
