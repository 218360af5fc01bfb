"""The cache of decoded images in the user's cache folder, so that each archive is decoded once."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import PIL
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.base.paths import cache_folder
from robust_tickets.data import archives
from robust_tickets.runs import downloads, tensor_file

DECODER = f"3-pillow-{PIL.__version__}"
"""Version of the decoder: ours and Pillow's, since JPEG decoders differ in the last bit."""

_KIND = "cache of images"


def load_or_decode(
    name: str, source: Path, decode: Callable[[], dict[str, Tensor]], log: Callable[[str], None]
) -> dict[str, Tensor]:
    """The images of `source`: from the cache, else decoded and written to it.

    A damaged file in the cache is replaced; a cache that cannot be written costs time alone. Both are logged.
    """
    key = f"{name}-{source_key(source)}.safetensors"
    with suppress(InputError, OSError):  # where the folder may not be looked into, nor written
        path = cache_folder() / key
        if path.is_file():
            try:
                return tensor_file.load(path, _KIND)[0]
            except InputError:
                log("the cached images are damaged, and are decoded again")
    arrays = decode()
    try:
        tensor_file.save(cache_folder() / key, _KIND, arrays, {})
    except InputError as error:
        log(f"the decoded images are not cached, and will be decoded again ({error})")
    return arrays


def source_key(source: Path) -> str:
    """Sixteen hex digits of an archive's content, or of a tree's file names, sizes and times."""
    try:
        if source.is_dir():
            return _tree_key(source)
        status = source.stat()
        archives.check_kind(source, status.st_mode)
        return _archive_key(source, status.st_size, status.st_mtime_ns, status.st_ino)
    except OSError as error:
        raise InputError(f"cannot read {source} ({error.strerror}): check it and its permissions") from None


@lru_cache(maxsize=8)  # size, time and inode are part of the cache's key: an unchanged file is hashed once
def _archive_key(source: Path, size: int, time: int, inode: int) -> str:
    digest = hashlib.sha256(DECODER.encode())
    with source.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def _tree_key(source: Path) -> str:
    digest = hashlib.sha256(DECODER.encode())
    # to hash the content of 60,000 files would take as long as decoding them
    for path in sorted(archives.paths(source)):
        status = path.stat() if path.exists() else path.lstat()
        line = f"{path.relative_to(source)} {status.st_size} {status.st_mtime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def clear() -> str:
    """Remove all decoded images and downloaded files, but not those of torchvision; gives a line on that."""
    folder = cache_folder()
    files = [
        *sorted(folder.glob("*.safetensors")),
        *sorted(folder.glob(".*.part")),
        *downloads.cached_files(),
    ]
    size = sum(file.stat().st_size for file in files)
    for file in files:
        file.unlink()
    downloads.remove_empty_folders()
    return f"removed {len(files)} files ({size / 1e6:.1f} MB) from {folder}"
