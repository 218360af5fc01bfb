"""The user's own images: a folder of image files by class, or an archive of one."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.data import archives, cache, image_decoding
from robust_tickets.data.balance import balanced_order
from robust_tickets.data.class_folders import Classes, ClassFolders, find_class_folders
from robust_tickets.data.class_names import describe_numbers, match_names
from robust_tickets.data.data_paths import data_path
from robust_tickets.data.dataset import Dataset, number_samples
from robust_tickets.data.image_decoding import ImageHeader, Rows
from robust_tickets.data.user_images import check_classes, describe_images, split_user_images
from robust_tickets.recipe.fields import Data

LARGEST = 16 << 30
"""Bytes that the decoded images may take."""

_ALWAYS_ALLOWED = 256 << 20  # bytes that decoded images may take whatever the size of their files
_LARGEST_RATIO = 200  # decoded bytes a byte of a file: 10 to 50 for JPEGs, 1,000 for an empty PNG

Log = Callable[[str], None]


def load(data: Data, log: Log) -> Dataset:
    """Load the images of a folder. Raises InputError if they are missing, damaged or of several sizes."""
    root = data_path(data)
    decoded: list[Path] = []

    def decode_root() -> dict[str, Tensor]:
        decoded.append(root)
        return decode(root, data.resize, log)

    arrays = cache.load_or_decode(f"folder-{data.resize}", root, decode_root, log)
    if not decoded:
        for note in json.loads(arrays["notes"].numpy().tobytes()):
            log(note)
    train = number_samples(arrays["train_images"], arrays["train_labels"])
    test = number_samples(arrays["test_images"], arrays["test_labels"], len(train))
    names = tuple(json.loads(arrays["classes"].numpy().tobytes()))
    return split_user_images(data, describe_images(train, test, names, data.flip), train, test, log)


def decode(root: Path, resize: int, log: Log) -> dict[str, Tensor]:
    """Decode train/<class>/* and test/<class>/*, or <class>/* with a fifth of each class as test images.

    resize: side of the square that each image is scaled to cover and cropped to; 0: all have one size.
    log: is told what is left out, and how classes and parts are read.

    Gives uint8 images (N, C, H, W) and int64 labels (N,) as train_images, train_labels, test_images and
    test_labels, ordered by class and file name, and `classes`: their names as JSON in uint8; likewise
    `notes`, the lines on the images. Where there is a test part alone, there are no training images. Images
    are grey if all files are, else RGB. The orientation that cameras record beside the pixels is not applied.

    Raises InputError for files that are no such tree.
    """
    log(f"decoding {root.name} (once; the images are cached)")
    notes: list[str] = []

    def note(line: str) -> None:
        notes.append(line)
        log(line)

    all_folders: set[str] = set()
    headers, other_files = _read_headers(root, all_folders)
    folders = find_class_folders(headers)
    _log_unused(root, folders, other_files, all_folders, note)
    if not folders.train and not folders.test:
        raise InputError(
            f"{root} has no images in class folders: give train/<class>/* and test/<class>/*, or "
            f"<class>/*, with {', '.join(s[1:] for s in image_decoding.SUFFIXES)}; check --data.root"
        )
    named_train, named_test = match_names(folders.train, folders.test, note)
    classes = sorted({*named_train, *named_test})
    numbers = describe_numbers(classes)
    if numbers:
        note(numbers)
    train, test = _split(folders, _rows(named_train, classes), _rows(named_test, classes), classes, note)
    shape = _shape(root, {name: headers[name] for name, _ in (*train, *test)}, resize)
    _log_alpha({name: headers[name] for name, _ in (*train, *test)}, note)
    tensors = image_decoding.decode_parts(root, {"train": train, "test": test}, shape)
    return tensors | {"classes": _as_json(classes), "notes": _as_json(notes)}


def _split(folders: ClassFolders, train: Rows, test: Rows, classes: list[str], log: Log) -> tuple[Rows, Rows]:
    """Training and test images. Raises InputError unless both have all classes."""
    if not folders.train:
        labels = _labels(test)
        check_classes(labels, labels, classes)
        log(f"there is a folder {folders.test_part} alone: all its images are for testing, none for training")
        return [], test
    if not folders.test:
        train, test = _hold_out_test(train, classes)
        log(
            f"there is no test folder: a fifth of each class, {len(test):,} images, is held out for testing, "
            "always the same ones"
        )
        return train, test
    check_classes(_labels(train), _labels(test), classes)
    if folders.test_part.lower() != "test":
        log(f"there is no test folder: the images of {folders.test_part} are used for testing")
    return train, test


def _as_json(texts: list[str]) -> Tensor:
    return torch.tensor(list(json.dumps(texts).encode()), dtype=torch.uint8)


def _read_headers(root: Path, folders: set[str]) -> tuple[dict[str, ImageHeader | InputError], list[str]]:
    """Headers of the files with the suffix of an image, or their errors; and the names of other files.

    folders: takes the paths of all folders.
    """
    headers: dict[str, ImageHeader | InputError] = {}
    other_files = []
    for entry in archives.entries(root, folders=folders):
        if archives.is_hidden(entry.name):
            continue
        if not image_decoding.is_image(entry.name):
            other_files.append(entry.name)
            continue
        try:
            headers[entry.name] = image_decoding.read_header(entry)
        except InputError as error:
            if ".." in PurePosixPath(entry.name).parts:
                raise  # such a path has no class
            headers[entry.name] = error  # which matters only if the file is in a class folder
    return headers, other_files


def _log_unused(
    root: Path, folders: ClassFolders, other_files: list[str], all_folders: set[str], log: Log
) -> None:
    """Say which files and folders are left out. Raises InputError for a class folder that cannot be read."""
    used = [name for part in (folders.train, folders.test) for names in part.values() for name in names]
    parents = {PurePosixPath(name).parent for name in used}
    no_images = sorted(name for name in other_files if PurePosixPath(name).parent in parents)
    above = {parent.parent for parent in parents}
    empty = sorted(
        name
        for name in all_folders
        if PurePosixPath(name).parent in above - parents
        and PurePosixPath(name) not in parents | above
        and not archives.is_hidden(name)
    )
    for name in empty if root.is_dir() and used else ():
        if PurePosixPath(name).name != "lost+found" and not os.access(root / name, os.R_OK | os.X_OK):
            raise InputError(
                f"cannot read the folder {root / name}, which may be a class (Permission denied): make it "
                "readable, or move it away"
            )
    for names, one, many in (
        (no_images, "file that is no image", "files that are no images"),
        (folders.others, "image in no class folder", "images in no class folder"),
        (empty, "folder without images, which is no class", "folders without images, which are no classes"),
    ):
        if names and used:
            log(f"left out: {len(names):,} {one if len(names) == 1 else many}, such as {names[0]}")


def _log_alpha(files: dict[str, ImageHeader | InputError], log: Log) -> None:
    """Say that transparency is left out, which may show what no viewer does."""
    names = [name for name, header in files.items() if isinstance(header, ImageHeader) and header.alpha]
    if names:
        log(
            f"{len(names):,} of {len(files):,} images have an alpha channel, such as {names[0]}: it is left "
            "out, and transparent pixels have the colour that is stored under them; put the images on a "
            "background first if they should have another"
        )


def _rows(part: Classes, classes: list[str]) -> Rows:
    """Names and labels of a part's images, by class and name."""
    return [(name, label) for label, folder in enumerate(classes) for name in part.get(folder, [])]


def _labels(rows: Rows) -> Tensor:
    return torch.tensor([label for _, label in rows], dtype=torch.int64)


def _hold_out_test(rows: Rows, classes: list[str]) -> tuple[Rows, Rows]:
    """Training and test images: a constant fifth of each class, and at least one image, is for testing."""
    labels = _labels(rows)
    check_classes(labels, labels, classes)
    order = balanced_order(labels)
    test: set[int] = set()
    for label, name in enumerate(classes):
        members = order[labels[order] == label].tolist()
        if len(members) < 2:
            raise InputError(
                f"the class {name!r} has one image, and one more is needed for testing: add images"
            )
        test.update(members[: max(len(members) // 5, 1)])
    return (
        [row for number, row in enumerate(rows) if number not in test],
        [row for number, row in enumerate(rows) if number in test],
    )


def _shape(root: Path, files: dict[str, ImageHeader | InputError], resize: int) -> tuple[int, int, int]:
    """Channels, height and width of all images. Raises InputError for the first file that does not fit."""
    headers: dict[str, ImageHeader] = {}
    for name, header in files.items():
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
            f"{width} x {height}: replace it, or scale all to one size, as by "
            f"--data.resize {min(width, height)}"
        )
    channels = 3 if any(header.colour for header in headers.values()) else 1
    size = len(headers) * channels * height * width
    needs = f"the {len(headers):,} images of {root} would take {size / (1 << 30):.1f} GiB decoded"
    if size > LARGEST:
        raise InputError(
            f"{needs}, and at most {LARGEST / (1 << 30):.3g} GiB are allowed: make them smaller, as by "
            f"--data.resize {max(min(height, width) // 4, 1)}"
        )
    file_bytes = sum(path.stat().st_size for path in (archives.paths(root) if root.is_dir() else [root]))
    if size > max(_ALWAYS_ALLOWED, _LARGEST_RATIO * file_bytes):
        raise InputError(
            f"{needs}, more than {_LARGEST_RATIO} times the size of their files, as no photographs do: check "
            "the files"
        )
    return channels, height, width
