"""Reads image files: their headers, and their pixels into arrays."""

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.data import archives
from robust_tickets.data.archives import LARGEST_FILE, Entry

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".bmp", ".webp", ".gif",
    ".tif", ".tiff", ".ppm", ".pgm",
)  # fmt: skip
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")

_GREY = {"1", "L", "LA", "La"}
_COLOUR = {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
_BATCH = 1 << 18  # bytes of files that a thread decodes at once
_LONGEST_QUEUE = 16  # batches that are read and not yet decoded

Pixels = NDArray[np.uint8]
Rows = list[tuple[str, int]]
"""Names of files and their labels."""

File = tuple[str, bytes, Pixels, int]
"""A file's name and content, and the array and row that it is decoded into."""


@dataclass(frozen=True)
class ImageHeader:
    """The header of an image file."""

    size: tuple[int, int]
    """width, height"""
    colour: bool
    format: str
    alpha: bool = False
    """whether pixels may be transparent"""


def is_image(name: str) -> bool:
    """Whether the name has the suffix of an image."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def read_header(entry: Entry, formats: tuple[str, ...] = FORMATS) -> ImageHeader:
    """Read a file's header alone. Raises InputError for a file that is no image of 8 bits a channel."""
    try:
        # an image with more pixels than Pillow accepts without a warning is refused
        with warnings.catch_warnings(), entry.open() as file:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=formats) as image:
                # Pillow would cut 16 bits to 8 without a word
                deep = any(";16" in str(tile[3]) for tile in image.tile)
                if deep or image.mode not in _GREY | _COLOUR:
                    raise InputError(
                        f"{entry.name} has pixels of more than 8 bits (mode {image.mode}): convert it to "
                        "8 bits a channel"
                    )
                alpha = image.mode in _ALPHA or "transparency" in image.info
                return ImageHeader(image.size, _is_colour(image), str(image.format), alpha)
    except InputError:
        raise
    except Exception as error:  # a damaged file may make a decoder raise anything
        raise _unreadable(entry.name, error) from None


def decode_into(entries: Iterable[Entry], targets: Mapping[str, tuple[Pixels, int]]) -> None:
    """Decode files into arrays.

    targets: by file name, an array uint8 (N, C, H, W) and a row of it; other files are left out.

    Three channels are RGB, one is grey; transparency is dropped. An image of another size than H x W is
    scaled to cover H x W and cropped to its centre. The first picture of an animation is used.
    """
    queue: deque[tuple[list[File], Future[list[Pixels]]]] = deque()

    def store() -> None:
        batch, future = queue.popleft()
        for (_, _, array, row), pixels in zip(batch, future.result(), strict=True):
            array[row] = pixels  # in the order of the files: the last of two with one name counts, as in tar

    # Pillow releases the interpreter lock while it decodes, so threads are enough
    with ThreadPoolExecutor() as pool:
        for batch in _batches(entries, targets):
            queue.append((batch, pool.submit(_decode_batch, batch)))
            if len(queue) > _LONGEST_QUEUE:
                store()
        while queue:
            store()


def decode_parts(
    root: Path, parts: Mapping[str, Rows], shape: tuple[int, int, int], largest: int = LARGEST_FILE
) -> dict[str, Tensor]:
    """Decode the files of a tree or an archive.

    parts: the rows of "train" and "test".
    shape: of an image, (C, H, W).
    largest: bytes that a file may have.

    Gives images uint8 (N, C, H, W) and labels int64 (N,) as train_images, train_labels and so on.
    """
    tensors: dict[str, Tensor] = {}
    targets: dict[str, tuple[Pixels, int]] = {}
    for part, rows in parts.items():
        array = np.empty((len(rows), *shape), np.uint8)
        targets |= {name: (array, row) for row, (name, _) in enumerate(rows)}
        tensors[f"{part}_images"] = torch.from_numpy(array)
        tensors[f"{part}_labels"] = torch.tensor([label for _, label in rows], dtype=torch.int64)
    decode_into(archives.entries(root, largest), targets)
    return tensors


def _batches(entries: Iterable[Entry], targets: Mapping[str, tuple[Pixels, int]]) -> Iterator[list[File]]:
    """The files with a target, in batches large enough for a thread."""
    batch: list[File] = []
    size = 0
    for entry in entries:
        if entry.name in targets:
            with entry.open() as file:
                content = file.read()
            batch.append((entry.name, content, *targets[entry.name]))
            size += len(content)
        if size > _BATCH:
            yield batch
            batch, size = [], 0
    yield batch


def _decode_batch(batch: list[File]) -> list[Pixels]:
    return [_decode(name, content, array.shape[1:]) for name, content, array, _ in batch]


def _decode(name: str, content: bytes, shape: tuple[int, ...]) -> Pixels:
    """The pixels (C, H, W) of an image file."""
    channels, height, width = shape
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as opened:
            image: Image.Image = opened
            if image.mode == "P" and "transparency" in image.info:
                image = image.convert("RGBA")  # Pillow warns if it is converted directly
            image = image.convert("RGB" if channels == 3 else "L")
            if image.size != (width, height):
                image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
            array = np.asarray(image)
    except Exception as error:  # a damaged file may make a decoder raise anything
        raise _unreadable(name, error) from None
    return np.ascontiguousarray(array.reshape(height, width, channels).transpose(2, 0, 1))


def _is_colour(image: Image.Image) -> bool:
    if image.mode in _GREY:
        return False
    palette = image.getpalette("RGB") if image.mode in ("P", "PA") else None
    return palette is None or not palette[::3] == palette[1::3] == palette[2::3]


def _unreadable(name: str, error: Exception) -> InputError:
    return InputError(f"{name} is no readable image ({error}): replace or remove it")
