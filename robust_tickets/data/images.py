"""Image files, in a folder or a tar archive, to arrays."""

import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from robust_tickets.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg")
_LARGEST_FILE = 1 << 20  # a 32 x 32 image takes a few kB; more than a megabyte is something else


def decode(
    root: Path, classes: Sequence[str], shape: tuple[int, int, int], say: Callable[[str], None]
) -> dict[str, Tensor]:
    """Decode a tree `train/<class>/*.png|jpg` and `test/<class>/*`, or a tar archive of one.

    Gives uint8 images (N, C, H, W) and int64 labels (N,) as train_images, train_labels, test_images and
    test_labels, ordered by class and file name, and `lossy`: whether any file was a JPEG. Raises InputError
    for an archive that is damaged or none, classes other than `classes`, or images of another size.
    """
    say(f"decoding {root.name} (once; the arrays are kept in the cache)")
    found: dict[tuple[str, int], list[tuple[str, bytes]]] = {}
    numbers = {name: number for number, name in enumerate(classes)}
    for name, content in _files(root):
        part, label_name = PurePosixPath(name).parts[-3:-1]
        if label_name not in numbers:
            raise InputError(f"{root} has the class {label_name!r} ({name}): expected {', '.join(classes)}")
        found.setdefault((part, numbers[label_name]), []).append((name, content))
    arrays: dict[str, Tensor] = {}
    lossy = False
    # Pillow lets go of the interpreter while it decodes, so threads are enough
    with ThreadPoolExecutor() as pool:
        for part in ("train", "test"):
            pixels, labels = [], []
            for number, label_name in enumerate(classes):
                files = sorted(found.get((part, number), []))
                if not files:
                    raise InputError(
                        f"{root} has no images {part}/{label_name}/*.png or *.jpg: expected a tree of both "
                        "train and test, with a folder for each class"
                    )
                for array, kind in pool.map(lambda file: _pixels(file[0], file[1], shape), files):
                    pixels.append(array)
                    lossy = lossy or kind == "JPEG"
                labels += [number] * len(files)
            arrays[f"{part}_images"] = torch.from_numpy(np.stack(pixels))
            arrays[f"{part}_labels"] = torch.tensor(labels)
    arrays["lossy"] = torch.tensor(lossy)
    return arrays


def _files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Names (.../train|test/<class>/<file>) and contents of the image files, in no particular order."""
    if root.is_dir():
        for path in root.glob("*/*/*"):
            if _wanted(path.relative_to(root).as_posix()):
                try:
                    yield path.relative_to(root).as_posix(), path.read_bytes()
                except OSError as error:
                    raise InputError(f"cannot read {path} ({error.strerror}): mend or remove it") from None
        return
    try:
        with tarfile.open(root, "r|*") as archive:  # as a stream: xz and gzip cannot seek cheaply
            for member in archive:
                if not member.isfile() or not _wanted(member.name):
                    continue
                if member.size > _LARGEST_FILE:
                    raise InputError(f"{member.name} in {root} is {member.size} bytes: expected small images")
                file = archive.extractfile(member)
                assert file is not None
                yield member.name, file.read()
    except tarfile.ReadError as error:
        raise InputError(
            f"{root} is no readable tar archive ({error}): fetch it again, or check --data.root"
        ) from None
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{root} is damaged or cut short ({error}): fetch it again") from None


def _wanted(name: str) -> bool:
    path = PurePosixPath(name)
    return len(path.parts) >= 3 and path.parts[-3] in ("train", "test") and path.suffix.lower() in SUFFIXES


def _pixels(name: str, content: bytes, shape: tuple[int, int, int]) -> tuple[NDArray[np.uint8], str | None]:
    """The pixels (C, H, W) of an image file, and its format."""
    channels, height, width = shape
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            if image.size != (width, height):
                raise InputError(
                    f"{name} is {image.size[0]} x {image.size[1]} pixels, expected {width} x {height}"
                )
            kind = image.format
            array = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} is no readable image ({error}): fetch the data again") from None
    return np.ascontiguousarray(array.reshape(height, width, channels).transpose(2, 0, 1)), kind
