"""The user's own images: checked, described and split."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robust_tickets.base.arguments import to_int
from robust_tickets.base.errors import InputError
from robust_tickets.base.progress import stderr_progress
from robust_tickets.data.dataset import (
    Dataset,
    Spec,
    Split,
    fingerprint,
    hold_out_validation,
    number_samples,
)
from robust_tickets.recipe import schema
from robust_tickets.recipe.fields import Data

Pair = tuple[Tensor | NDArray[Any], Tensor | NDArray[Any]]


def from_tensors(
    train: Pair, test: Pair, *, val_images: int, train_images: int = 0, flip: bool = False
) -> Dataset:
    """A data set from tensors or arrays of images and labels.

    train, test: images and labels. Images are (N, C, H, W) or (N, H, W): uint8, or floats in [0, 1], which
        are rounded to the nearest 1/255. Labels are integers (N,) from 0; both parts have all classes.
    val_images: number of training images held out for validation.
    train_images: number of the others that are trained on; 0: all.
    flip: flip training images horizontally at random. They are cropped at random in any case, with a padding
        of an eighth of their side.

    Raises InputError for images or labels of another kind.

    >>> from_tensors((images, labels), (test_images, test_labels), val_images=500)
    """
    data = Data("own", train_images=to_int(train_images), val_images=to_int(val_images), flip=flip)
    schema.check(data, "data")
    for name, pair in (("train", train), ("test", test)):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InputError(
                f"{name} must be a pair of images and labels, got a {type(pair).__name__}: write "
                f"{name}=(images, labels)"
            )
    pixels, labels = _images(train[0], "train"), _labels(train, "train")
    test_pixels, test_labels = _images(test[0], "test"), _labels(test, "test")
    if pixels.shape[1:] != test_pixels.shape[1:]:
        raise InputError(
            f"training images are {tuple(pixels.shape[1:])} and test images {tuple(test_pixels.shape[1:])} "
            "(C, H, W): give images of one shape"
        )
    every = torch.cat([labels, test_labels])
    classes = int(every.max()) + 1
    if int(every.min()) > 0:
        raise InputError(
            f"the labels go from {int(every.min())} to {classes - 1}, and classes are counted from 0: pass "
            f"labels - {int(every.min())}"
        )
    check_classes(labels, test_labels, [str(label) for label in range(classes)])
    train_part = number_samples(pixels, labels)
    test_part = number_samples(test_pixels, test_labels, len(labels))
    spec = describe_images(train_part, test_part, (), flip)
    return split_user_images(data, spec, train_part, test_part, lambda line: stderr_progress().log(line))


def split_user_images(
    data: Data, spec: Spec, train: Split, test: Split, log: Callable[[str], None] = lambda line: None
) -> Dataset:
    """Split own images; where there are test images alone, the other parts are empty.

    log: is told of rare classes.
    Raises InputError if validation leaves no training image of a class.
    """
    if not len(train):
        return Dataset(spec, spec.title, train, train, test, fingerprint(train, test))
    dataset = hold_out_validation(data, spec, spec.title, train, test, log)
    counts = torch.bincount(dataset.train.labels, minlength=spec.classes)
    if len(dataset.train) >= spec.classes and not bool(counts.all()):
        label = int((counts == 0).nonzero()[0])
        raise InputError(
            f"data.val_images {data.val_images} leaves no training image of the class "
            f"{spec.labels[label] if spec.labels else label!r}: hold out fewer images"
        )
    return dataset


def describe_images(train: Split, test: Split, labels: tuple[str, ...], flip: bool) -> Spec:
    """The spec of own images; mean and std are those of the training images, to four decimals.

    Where there are test images alone, these take their place.

    labels: names of the classes; empty if they have none.
    flip: whether training images are flipped horizontally at random.
    The std of a constant channel is 1.
    """
    described = train if len(train) else test
    channels, height, width = described.images.shape[1:]
    counts = np.zeros((channels, 256), np.int64)
    for images in torch.split(described.images, 4096):
        for channel in range(channels):
            counts[channel] += np.bincount(images[:, channel].numpy().ravel(), minlength=256)
    shares, values = counts / counts.sum(1, keepdims=True), np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(1))
    classes = int(described.labels.max()) + 1
    return Spec(
        f"own images ({classes} classes)",
        (channels, height, width),
        classes,
        len(train),
        len(test),
        tuple(round(float(m), 4) for m in mean),
        tuple(round(float(s), 4) or 1.0 for s in std),
        crop_padding=round(min(height, width) / 8),
        flip=flip,
        labels=labels,
    )


def check_classes(train: Tensor, test: Tensor, names: Sequence[str]) -> None:
    """Raise InputError unless both parts have images of all classes, and there are two or more classes."""
    for part, labels in (("training", train), ("test", test)):
        missing = np.setdiff1d(np.arange(len(names)), labels.numpy())
        if len(missing):
            raise InputError(
                f"there are no {part} images of the class {names[missing[0]]!r}, and both parts need all "
                "classes: add images, or leave the class out"
            )
    if len(names) < 2:
        raise InputError(f"all images are of one class, {names[0]!r}: give two classes or more")


def _images(images: Tensor | NDArray[Any], part: str) -> Tensor:
    tensor = _tensor(images, f"the {part} images")
    if tensor.ndim == 3:
        tensor = tensor[:, None]
    shape = tuple(tensor.shape)
    if tensor.ndim != 4 or 0 in shape:
        raise InputError(f"the {part} images are of shape {shape}: expected (N, C, H, W) or (N, H, W)")
    if shape[1] not in (1, 3) and shape[3] in (1, 3, 4):
        raise InputError(
            f"the {part} images are of shape {shape}, with channels last: give (N, C, H, W), as by "
            "images.permute(0, 3, 1, 2)"
        )
    if tensor.is_floating_point():
        if not bool(((tensor >= 0) & (tensor <= 1)).all()):  # false for NaN too
            raise InputError(
                f"the {part} images are floats outside [0, 1] (or NaN): scale them to [0, 1], without "
                "normalisation, or give uint8"
            )
        tensor = (tensor.double() * 255).round().to(torch.uint8)
    if tensor.dtype != torch.uint8:
        raise InputError(f"the {part} images are of {tensor.dtype}: expected uint8, or floats in [0, 1]")
    if int(tensor.max()) <= 1:
        raise InputError(
            f"the {part} images are uint8 from 0 to {int(tensor.max())}, and uint8 goes to 255: multiply "
            "them by 255, or give floats in [0, 1]"
        )
    return tensor.contiguous().clone()  # a copy, so that the caller's may change


def _labels(pair: Pair, part: str) -> Tensor:
    labels = _tensor(pair[1], f"the {part} labels")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool or labels.ndim != 1:
        raise InputError(
            f"the {part} labels are {labels.dtype} of shape {tuple(labels.shape)}: expected integers (N,), "
            "one an image"
        )
    if len(labels) != len(pair[0]):
        raise InputError(
            f"there are {len(pair[0])} {part} images and {len(labels)} labels: give one label an image"
        )
    labels = labels.to(torch.int64)
    if int(labels.min()) < 0 or int(labels.max()) >= 1 << 16:
        raise InputError(
            f"the {part} labels go from {int(labels.min())} to {int(labels.max())}: count the classes from 0"
        )
    return labels


def _tensor(values: Tensor | NDArray[Any], name: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().cpu()
    try:
        return torch.from_numpy(np.array(values))  # a copy: an array may be read-only
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} are no tensor or array of numbers ({error}): give one") from None
