"""The files of a folder, tar or zip by name and content, without unpacking anything to the disk."""

import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from robust_tickets.base.errors import InputError

LARGEST_FILE = 64 << 20
"""Bytes of the largest file that is read: larger ones are no images."""

_DEEPEST = 6  # levels of folders below the root, which ends circles of links
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")


@dataclass(frozen=True)
class Entry:
    """A file of a tree or an archive.

    name: its path below the root, with slashes.
    open: gives its content; in an archive only until the next entry is taken. Raises InputError for a link, a
        path that leads out of the archive, or a file that is too large.
    """

    name: str
    open: Callable[[], IO[bytes]]


def entries(root: Path, largest: int = LARGEST_FILE, folders: set[str] | None = None) -> Iterator[Entry]:
    """All files of a tree or an archive, in no particular order.

    largest: bytes of the largest file that is read.
    folders: takes the paths of the folders below the root, with slashes, all of them once the last entry is
        taken.

    Raises InputError for a file that is damaged or no archive.
    """
    folders = set() if folders is None else folders
    if root.is_dir():
        folders.update(_tree_folders(root))
        for path in paths(root):
            yield Entry(path.relative_to(root).as_posix(), partial(_open_in_tree, path, largest))
        return
    with _archive_errors(root):
        check_kind(root, root.stat().st_mode)
        with root.open("rb") as file:
            zipped = file.read(4) in _ZIP_MAGIC
        yield from (_zip_entries if zipped else _tar_entries)(root, largest, folders)


def paths(root: Path) -> Iterator[Path]:
    """The files of a tree, through links; and folders with a suffix, which are in place of a file."""
    for folder, folders, names in os.walk(root, followlinks=True):
        if len(Path(folder).relative_to(root).parts) >= _DEEPEST:
            folders.clear()
        for name in (*names, *(n for n in folders if PurePosixPath(n).suffix and not n.startswith("."))):
            yield Path(folder, name)


def _tree_folders(root: Path) -> Iterator[str]:
    """The folders of a tree, by their paths below the root."""
    for folder, names, _ in os.walk(root, followlinks=True):
        inner = Path(folder).relative_to(root)
        if len(inner.parts) >= _DEEPEST:
            names.clear()
        yield from ((inner / name).as_posix() for name in names)


def _open_in_tree(path: Path, largest: int) -> IO[bytes]:
    try:
        status = path.stat()
        check_kind(path, status.st_mode)
        _check_size(status.st_size, largest, str(path))
        return path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): make it readable, or remove it") from None


def _tar_entries(root: Path, largest: int, folders: set[str]) -> Iterator[Entry]:
    def content(member: tarfile.TarInfo) -> IO[bytes]:
        _check_path(member.name, root)
        if not member.isfile():
            raise _link_error(member.name, root)
        _check_size(member.size, largest, f"{member.name} in {root}")
        with _archive_errors(root):
            file = archive.extractfile(member)
            assert file is not None
            return io.BytesIO(file.read())

    # as a stream, since xz and gzip cannot seek cheaply
    with tarfile.open(root, "r|*", tarinfo=_Header) as archive:
        for member in archive:
            if member.isdir():
                folders.add(str(PurePosixPath(member.name)))
            elif member.isfile() or member.issym() or member.islnk():
                yield Entry(str(PurePosixPath(member.name)), partial(content, member))


class _Header(tarfile.TarInfo):
    """Refuses a long name or extended header that is too large: tarfile would read it into memory."""

    _LONGEST = 1 << 20  # bytes

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _HEADERS and self.size > self._LONGEST:
            raise tarfile.ReadError(f"it has a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]


_HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


def _zip_entries(root: Path, largest: int, folders: set[str]) -> Iterator[Entry]:
    def content(member: zipfile.ZipInfo) -> IO[bytes]:
        _check_path(member.filename, root)
        if stat.S_ISLNK(member.external_attr >> 16):
            raise _link_error(member.filename, root)
        _check_size(member.file_size, largest, f"{member.filename} in {root}")
        if member.flag_bits & 1:
            raise InputError(f"{member.filename} in {root} is encrypted: pack the archive without a password")
        with _archive_errors(root), archive.open(member) as file:
            return io.BytesIO(file.read(member.file_size))

    with zipfile.ZipFile(root) as archive:
        for member in archive.infolist():
            name = member.filename.replace("\\", "/")
            if name.endswith("/"):
                folders.add(str(PurePosixPath(name)))
            elif name:
                yield Entry(str(PurePosixPath(name)), partial(content, member))


@contextmanager
def _archive_errors(root: Path) -> Iterator[None]:
    """Turn the errors of a damaged archive into InputError."""
    try:
        yield
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise InputError(
            f"{root} is damaged or no tar or zip archive ({error}): download it again, or check --data.root"
        ) from None
    except NotImplementedError as error:
        raise InputError(
            f"{root} is packed by an unknown method ({error}): pack it again, as zip or tar"
        ) from None


def check_kind(path: Path, mode: int) -> None:
    """Raise InputError for what is neither a file nor a folder; mode: of its status."""
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a pipe would be waited for without end
        raise InputError(f"{path} is a pipe, a socket or a device and no file: remove it, or give a file")


def _check_path(name: str, root: Path) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"{root} has the path {name}, which leads out of the archive: pack it again")


def _check_size(size: int, largest: int, name: str) -> None:
    if size > largest:
        raise InputError(f"{name} is {size} bytes, larger than any image ({largest >> 20} MiB): remove it")


def _link_error(name: str, root: Path) -> InputError:
    return InputError(
        f"{name} in {root} is a link: pack the files themselves (tar --dereference --hard-dereference), or "
        "unpack the archive and give the folder"
    )


def is_hidden(name: str) -> bool:
    """Whether an operating system made the file: .DS_Store, ._1.png, Thumbs.db."""
    parts = PurePosixPath(name).parts
    return parts[-1].lower() in ("thumbs.db", "desktop.ini") or any(
        part == "__MACOSX" or (part.startswith(".") and part != "..") for part in parts
    )
