"""The idx files of MNIST and of those made in its likeness."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robust_tickets.base.errors import InputError

IMAGES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
LABELS = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}


def has_any_file(folder: Path) -> bool:
    """Whether any of the four files, gzipped or not, lies in this folder."""
    return any(_path(folder, name).exists() for name in (*IMAGES.values(), *LABELS.values()))


def has_all_files(folder: Path) -> bool:
    """Whether all four files lie in this folder."""
    return all(_path(folder, name).exists() for name in (*IMAGES.values(), *LABELS.values()))


def read(folder: Path, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The bytes of the file `name` or `name`.gz, in this shape.

    Raises InputError where the file is absent, damaged, of another kind or of another shape.
    """
    path = _path(folder, name)
    if not path.exists():
        raise InputError(f"{folder} has no {name}, gzipped or not: fetch it again")
    start, size = 4 + 4 * len(shape), int(np.prod(shape))
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(start + size + 1)  # one more than expected, and not all of a wrong file
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged or cannot be read ({error}): fetch it again") from None
    # two noughts, 8 for unsigned bytes, the number of dimensions; then each as a big-endian number
    if content[:4] != bytes([0, 0, 8, len(shape)]):
        raise InputError(
            f"{path} begins with {content[:4].hex(' ') or 'nothing'}, and an idx file of bytes in "
            f"{len(shape)} dimensions with 00 00 08 {len(shape):02}: it is another file or "
            "damaged; fetch it again"
        )
    dims = tuple(int(n) for n in np.frombuffer(content[4:start].ljust(start - 4, b"\0"), ">u4"))
    if dims != shape:
        raise InputError(
            f"{path} holds {_times(dims)}, expected {_times(shape)}: it is of another set or cut short; "
            "fetch it again (to train on fewer images, use --data.train-images)"
        )
    if len(content) != start + size:
        long = "more" if len(content) > start + size else f"{len(content) - start:,}"
        raise InputError(
            f"{path} should hold {size:,} bytes after its header and holds {long}: fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _path(folder: Path, name: str) -> Path:
    plain = folder / name
    return plain if plain.exists() else folder / f"{name}.gz"


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{n:,}" for n in shape)
