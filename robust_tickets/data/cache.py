"""Decoded arrays, kept in the user's cache folder so that they are decoded once."""

import hashlib
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import PIL
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.data import archives as files_module
from robust_tickets.runs import tensor_file

DECODER = f"2-pillow-{PIL.__version__}"
"""Version of the decoder: ours and the library's, since JPEG decoders differ in the last bit."""


_KIND = "cache of images"


def folder() -> Path:
    """The user's cache folder for this project ($XDG_CACHE_HOME, or ~/.cache)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "robust-tickets"


def load_or_decode(
    name: str, source: Path, decode: Callable[[], dict[str, Tensor]], say: Callable[[str], None]
) -> dict[str, Tensor]:
    """The arrays decoded from `source`, from the cache if they are there.

    A damaged file is made anew; that a cache cannot be written is said, and nothing is lost but time.
    """
    path = folder() / f"{name}-{source_key(source)}.safetensors"
    if path.is_file():
        try:
            return tensor_file.load(path, _KIND)[0]
        except InputError:
            say("the cached arrays are damaged and are made anew")
    arrays = decode()
    try:
        tensor_file.save(path, _KIND, arrays, {})
    except InputError as error:
        say(f"the decoded arrays are not kept, and decoded again next time ({error})")
    return arrays


def source_key(source: Path) -> str:
    """Sixteen hex digits that change with the content of an archive, or the file list of a tree."""
    try:
        if source.is_dir():
            return _of_tree(source)
        status = source.stat()
        return _of_archive(source, status.st_size, status.st_mtime_ns, status.st_ino)
    except OSError as error:
        raise InputError(f"cannot read {source} ({error.strerror}): check it and its permissions") from None


@lru_cache(maxsize=8)  # an archive is asked for more than once, and hashed once as long as it looks the same
def _of_archive(source: Path, size: int, changed: int, number: int) -> str:
    digest = hashlib.sha256(DECODER.encode())
    with source.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def _of_tree(source: Path) -> str:
    digest = hashlib.sha256(DECODER.encode())
    # reading 60,000 files to hash them would take as long as decoding them
    for path in sorted(files_module.paths(source)):
        status = path.stat() if path.exists() else path.lstat()
        line = f"{path.relative_to(source)} {status.st_size} {status.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def clear() -> str:
    """Remove all decoded arrays; gives a line that says how much. Downloads of torchvision stay."""
    files = sorted(folder().glob("*.safetensors")) + sorted(folder().glob(".*.part"))
    size = sum(file.stat().st_size for file in files)
    for file in files:
        file.unlink()
    return f"removed {len(files)} files ({size / 1e6:.1f} MB) from {folder()}"
