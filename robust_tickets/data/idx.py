"""The idx files of MNIST and Fashion-MNIST."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robust_tickets.base.errors import InputError

IMAGES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
LABELS = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}


def count_files(folder: Path) -> int:
    """How many of the four files the folder has, gzipped or not."""
    return sum(_path(folder, name).exists() for name in (*IMAGES.values(), *LABELS.values()))


def read(folder: Path, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read the array of the file `name` or `name`.gz.

    shape: the shape that it must have.
    Raises InputError for a file that is absent, damaged, of another kind or of another shape.
    """
    path = _path(folder, name)
    if not path.exists():
        raise InputError(f"{folder} has no {name}, gzipped or not: download it again")
    start, size = 4 + 4 * len(shape), int(np.prod(shape))
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(start + size + 1)  # one byte more than expected shows a file that is too long
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged or cannot be read ({error}): download it again") from None
    # 0, 0, 8 for unsigned bytes, the number of dimensions; then each dimension as a big-endian number
    if content[:4] != bytes([0, 0, 8, len(shape)]):
        raise InputError(
            f"{path} begins with {content[:4].hex(' ') or 'nothing'}, and an idx file of bytes in "
            f"{len(shape)} dimensions with 00 00 08 {len(shape):02}, so it is another file or damaged: "
            "download it again"
        )
    dims = tuple(int(n) for n in np.frombuffer(content[4:start].ljust(start - 4, b"\0"), ">u4"))
    if dims != shape:
        raise InputError(
            f"{path} holds {_product(dims)}, not {_product(shape)}, so it is another set's or cut short: "
            "download it again (to train on fewer images, use --data.train-images)"
        )
    if len(content) != start + size:
        length = "more" if len(content) > start + size else f"{len(content) - start:,}"
        raise InputError(
            f"{path} should hold {size:,} bytes after its header and holds {length}: download it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _path(folder: Path, name: str) -> Path:
    plain = folder / name
    return plain if plain.exists() else folder / f"{name}.gz"


def _product(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{n:,}" for n in shape)
