"""A folder of a person's own images, or an archive of one, by class."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.data import archives, cache, image_decoding
from robust_tickets.data.class_folders import Classes, ClassFolders, find_class_folders
from robust_tickets.data.data_paths import data_path
from robust_tickets.data.dataset import Dataset, balanced_order, number_samples
from robust_tickets.data.image_decoding import ImageHeader
from robust_tickets.data.user_images import check_classes, describe_images, split_user_images
from robust_tickets.recipe.fields import Data

LARGEST = 16 << 30
"""Bytes that the decoded images may take."""

_FREELY = 256 << 20  # bytes that any images may take decoded, however few they take packed
_DENSEST = 200  # bytes decoded for each byte packed: JPEGs have 10 to 50, an empty PNG a thousand

Say = Callable[[str], None]


def load(data: Data, say: Say) -> Dataset:
    """The images of a folder, split. Raises InputError where they are missing, damaged or do not fit."""
    root = data_path(data)
    arrays = cache.load_or_decode(f"folder-{data.resize}", root, lambda: decode(root, data.resize, say), say)
    train = number_samples(arrays["train_images"], arrays["train_labels"])
    test = number_samples(arrays["test_images"], arrays["test_labels"], len(train))
    names = tuple(json.loads(arrays["classes"].numpy().tobytes()))
    return split_user_images(data, describe_images(train, test, names, data.flip), train, test)


def decode(root: Path, resize: int, say: Say) -> dict[str, Tensor]:
    """Decode train/<class>/* and test/<class>/*, or <class>/* with a fifth of each class as the test part.

    Gives uint8 images (N, C, H, W) and int64 labels (N,) as train_images, train_labels, test_images and
    test_labels, ordered by class and file name, and `classes`: their names as JSON in uint8. Images are grey
    if all are, else RGB, and of one size, or scaled so that the short side is `resize`, and their centre
    kept. Files are taken as stored: the orientation a camera notes beside the pixels is not applied.

    Raises InputError where the files are no such tree.
    """
    say(f"decoding {root.name} (once; the arrays are kept in the cache)")
    headers, strangers = _survey(root)
    found = find_class_folders(headers)
    _say_left_out(found, strangers, say)
    if not found.train:
        raise InputError(
            f"{root} has no images in class folders: expected train/<class>/* and test/<class>/*, or "
            f"<class>/*, with {', '.join(s[1:] for s in image_decoding.SUFFIXES)}; check --data.root"
        )
    classes = sorted({*found.train, *found.test})
    train, test = _rows(found.train, classes), _rows(found.test, classes)
    if found.test:
        check_classes(_labels(train), _labels(test), classes)
        if found.test_part.lower() != "test":
            say(f"the test images are those of {found.test_part}, as there is no test folder")
    else:
        train, test = _held_out(train, classes)
        say(
            f"there is no test folder: a fifth of each class, {len(test):,} images, is held out as the test "
            "part, the same ones every time"
        )
    shape = _shape(root, {name: headers[name] for name, _ in (*train, *test)}, resize)
    parts = {"train": train, "test": test}
    arrays = {part: np.empty((len(rows), *shape), np.uint8) for part, rows in parts.items()}
    places = {name: (arrays[part], row) for part, rows in parts.items() for row, (name, _) in enumerate(rows)}
    image_decoding.decode_into(archives.entries(root), places)
    named = {"classes": torch.tensor(list(json.dumps(classes).encode()), dtype=torch.uint8)}
    for part, rows in parts.items():
        named |= {f"{part}_images": torch.from_numpy(arrays[part]), f"{part}_labels": _labels(rows)}
    return named


def _survey(root: Path) -> tuple[dict[str, ImageHeader | InputError], list[str]]:
    """Headers of the files that are named as images, or what is wrong with them; and the other files."""
    headers: dict[str, ImageHeader | InputError] = {}
    strangers = []
    for entry in archives.entries(root):
        if archives.is_hidden(entry.name):
            continue
        if not image_decoding.is_image(entry.name):
            strangers.append(entry.name)
            continue
        try:
            headers[entry.name] = image_decoding.read_header(entry)
        except InputError as error:
            if ".." in PurePosixPath(entry.name).parts:
                raise  # such a path says nothing of part and class
            headers[entry.name] = error  # it may lie in no class folder, and then does no harm
    return headers, strangers


def _say_left_out(found: ClassFolders, strangers: list[str], say: Say) -> None:
    used = [name for part in (found.train, found.test) for names in part.values() for name in names]
    folders = {PurePosixPath(name).parent for name in used}
    among = sorted(name for name in strangers if PurePosixPath(name).parent in folders)
    for names, one, many in (
        (among, "file that is no image", "files that are no images"),
        (found.others, "image that lies in no class folder", "images that lie in no class folder"),
    ):
        if names and used:
            say(f"left out: {len(names):,} {one if len(names) == 1 else many}, such as {names[0]}")


def _rows(part: Classes, classes: list[str]) -> list[tuple[str, int]]:
    """Names and labels of a part's images, by class and name."""
    return [(name, label) for label, of in enumerate(classes) for name in part.get(of, [])]


def _labels(rows: list[tuple[str, int]]) -> Tensor:
    return torch.tensor([label for _, label in rows], dtype=torch.int64)


def _held_out(
    rows: list[tuple[str, int]], classes: list[str]
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Training and test images: a constant fifth of each class is for the test, and one at least."""
    labels = _labels(rows)
    check_classes(labels, labels, classes)
    order = balanced_order(labels)
    test: set[int] = set()
    for label, name in enumerate(classes):
        members = order[labels[order] == label].tolist()
        if len(members) < 2:
            raise InputError(
                f"the class {name!r} has one image: at least two are needed, one of them for the test; "
                "add some"
            )
        test.update(members[: max(len(members) // 5, 1)])
    return (
        [row for number, row in enumerate(rows) if number not in test],
        [row for number, row in enumerate(rows) if number in test],
    )


def _shape(root: Path, found: dict[str, ImageHeader | InputError], resize: int) -> tuple[int, int, int]:
    """Channels, height and width of the arrays. Raises InputError for the first file that does not fit."""
    headers: dict[str, ImageHeader] = {}
    for name, header in found.items():
        if isinstance(header, InputError):
            raise header
        headers[name] = header
    sizes = Counter(header.size for header in headers.values())
    (width, height), _ = sizes.most_common(1)[0]
    if resize:
        width = height = resize
    elif len(sizes) > 1:
        odd = next(name for name in headers if headers[name].size != (width, height))
        raise InputError(
            f"{odd} is {headers[odd].size[0]} x {headers[odd].size[1]} pixels, most images are "
            f"{width} x {height}: mend it, or bring all to one size by --data.resize, such as "
            f"--data.resize {min(width, height)}"
        )
    channels = 3 if any(header.colour for header in headers.values()) else 1
    size = len(headers) * channels * height * width
    if size > LARGEST:
        raise InputError(
            f"the {len(headers):,} images of {root} would take {size / (1 << 30):.1f} GiB decoded, at most "
            f"{LARGEST / (1 << 30):.3g} GiB are allowed: make them smaller by --data.resize, such as "
            f"--data.resize {max(min(height, width) // 4, 1)}"
        )
    packed = (
        sum(path.stat().st_size for path in archives.paths(root)) if root.is_dir() else root.stat().st_size
    )
    if size > max(_FREELY, _DENSEST * packed):
        raise InputError(
            f"the {len(headers):,} images of {root} would take {size / (1 << 30):.1f} GiB decoded, more than "
            f"{_DENSEST} times their bytes in it, which no photographs do: look at them one by one"
        )
    return channels, height, width
