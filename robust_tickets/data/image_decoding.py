"""Image files to arrays: what their headers say, and their pixels."""

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from robust_tickets.base.errors import InputError
from robust_tickets.data.archives import Entry

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
)  # fmt: skip
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")

_GREY = {"1", "L", "LA", "La"}
_COLOUR = {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
_BATCH = 1 << 18  # bytes of files that a thread decodes at once
_WAITING = 16  # batches that are read and not yet decoded

Pixels = NDArray[np.uint8]
File = tuple[str, bytes, Pixels, int]
"""A file's name and content, the array that it goes to, and the row in it."""


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says of itself: width and height, whether it is in colour, and its format."""

    size: tuple[int, int]
    colour: bool
    format: str


def is_image(name: str) -> bool:
    """Whether the name has the suffix of an image."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def read_header(entry: Entry, formats: tuple[str, ...] = FORMATS) -> ImageHeader:
    """Read the header alone. Raises InputError for what is no image of 8 bits a channel."""
    try:
        # an image that claims more pixels than Pillow thinks sane is a mistake here, not worth a warning
        with warnings.catch_warnings(), entry.open() as file:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=formats) as image:
                deep = any(";16" in str(tile[3]) for tile in image.tile)  # Pillow halves these in silence
                if deep or image.mode not in _GREY | _COLOUR:
                    raise InputError(
                        f"{entry.name} has pixels of more than 8 bits (mode {image.mode}): convert it to "
                        "8 bits a channel"
                    )
                return ImageHeader(image.size, _in_colour(image), str(image.format))
    except InputError:
        raise
    except Exception as error:  # a damaged file may make a decoder raise anything
        raise _unreadable(entry.name, error) from None


def decode_into(entries: Iterable[Entry], places: Mapping[str, tuple[Pixels, int]]) -> None:
    """Decode each file that has a place: an array uint8 (N, C, H, W), and the row in it.

    Three channels are RGB, one is grey; transparency is dropped. An image of another size than H x W is
    scaled until it covers H x W, and its centre is kept. Of an animation the first picture is taken.
    """
    waiting: deque[tuple[list[File], Future[list[Pixels]]]] = deque()

    def store() -> None:
        batch, future = waiting.popleft()
        for (_, _, array, row), pixels in zip(batch, future.result(), strict=True):
            array[row] = pixels  # in the order of the files: of two with one name the last counts, as in tar

    # Pillow lets go of the interpreter while it decodes, so threads are enough
    with ThreadPoolExecutor() as pool:
        for batch in _batches(entries, places):
            waiting.append((batch, pool.submit(_decoded_all, batch)))
            if len(waiting) > _WAITING:
                store()
        while waiting:
            store()


def _batches(entries: Iterable[Entry], places: Mapping[str, tuple[Pixels, int]]) -> Iterator[list[File]]:
    """The files that have a place, in batches that are worth a thread's while."""
    batch: list[File] = []
    size = 0
    for entry in entries:
        if entry.name in places:
            with entry.open() as file:
                content = file.read()
            batch.append((entry.name, content, *places[entry.name]))
            size += len(content)
        if size > _BATCH:
            yield batch
            batch, size = [], 0
    yield batch


def _decoded_all(batch: list[File]) -> list[Pixels]:
    return [_decoded(name, content, array.shape[1:]) for name, content, array, _ in batch]


def _decoded(name: str, content: bytes, shape: tuple[int, ...]) -> Pixels:
    """The pixels (C, H, W) of an image file."""
    channels, height, width = shape
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as opened:
            image: Image.Image = opened
            if image.mode == "P" and "transparency" in image.info:
                image = image.convert("RGBA")  # by this way Pillow has no warning to give
            image = image.convert("RGB" if channels == 3 else "L")
            if image.size != (width, height):
                image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
            array = np.asarray(image)
    except Exception as error:  # a damaged file may make a decoder raise anything
        raise _unreadable(name, error) from None
    return np.ascontiguousarray(array.reshape(height, width, channels).transpose(2, 0, 1))


def _in_colour(image: Image.Image) -> bool:
    if image.mode in _GREY:
        return False
    palette = image.getpalette("RGB") if image.mode in ("P", "PA") else None
    return palette is None or not palette[::3] == palette[1::3] == palette[2::3]


def _unreadable(name: str, error: Exception) -> InputError:
    return InputError(f"{name} is no readable image ({error}): mend it, fetch it again or remove it")
