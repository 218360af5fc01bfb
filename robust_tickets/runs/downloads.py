"""Files that are read from an address: downloaded by fsspec, checked, and kept in the user's cache folder.

Whatever its name, what comes from an address is read as safetensors: tensors and plain values, no code.
"""

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from safetensors import SafetensorError, safe_open

from robust_tickets.base.addresses import Address, is_address
from robust_tickets.base.arguments import to_path
from robust_tickets.base.errors import InputError
from robust_tickets.base.file_systems import note_once
from robust_tickets.base.paths import cache_folder, follow_links
from robust_tickets.runs import files

TIMEOUT = 60.0
"""Seconds without an answer, or without a further byte, after which a server counts as hanging."""

LARGEST = 16 * 2**30
"""Bytes of the largest file that is downloaded."""


def local_file(name: str, source: object) -> Path:
    """The file that a path or an address names; that of an address is downloaded.

    name: of the argument, for messages.
    source: a path, or an address as text.

    Raises InputError for anything else, and as `download` does.
    """
    if isinstance(source, str) and is_address(source):
        return download(Address.parse(source))
    if isinstance(source, Path) and re.match(r"(https?|hf):/[^/]", str(source)):
        raise InputError(
            f"{name} {source} lacks a slash after its colon: write {str(source).partition(':')[0]}://, and "
            "from Python a text, as a Path loses one"
        )
    return to_path(name, source)


def download(address: Address) -> Path:
    """The file at an address, in the cache folder.

    With a checksum it is downloaded once. Without one it is downloaded each time, and its checksum printed.
    Raises InputError, and keeps nothing, for a file that cannot be had whole, has another checksum, or is no
    safetensors file.
    """
    if address.sha256 and _is_cached(address):
        return _cache_path(address)
    with _temporary_file() as part:
        _fetch(address, part)
        sha256 = _digest(part)
        if address.sha256 and sha256 != address.sha256:
            raise InputError(
                f"{address.url} has the checksum {sha256}, not {address.sha256} as its address says: it was "
                "changed or damaged; ask whoever gave you the address, and use nothing of it until then"
            )
        _check_safetensors(address, part)
        target = _cache_path(address.with_checksum(sha256))
        try:
            target.parent.mkdir(exist_ok=True)
            part.replace(target)
        except OSError as error:
            raise files.write_error(target, error) from None
    if not address.sha256:
        size = target.stat().st_size
        note_once(
            f"downloaded {size:,} bytes; to get this very content each time, also without a network, write "
            f"{address.with_checksum(sha256)}"
        )
    return target


def result_folder(file: Path) -> Path:
    """The folder for results about a file: its own, or the current one for a file that was downloaded."""
    with suppress(InputError):  # without a home folder nothing was downloaded
        if follow_links(file).is_relative_to(follow_links(_folder())):
            return Path()
    return file.parent


def cached_files() -> list[Path]:
    """The downloaded files, and what stopped downloads left."""
    return sorted([*_folder().glob("*/*.safetensors"), *_folder().glob("*.part")])


def remove_empty_folders() -> None:
    """Remove the folders of files that were removed."""
    for folder in _folder().glob("*"):
        with suppress(OSError):  # somebody downloads into it
            folder.rmdir()


def _folder() -> Path:
    return cache_folder() / "downloads"


def _cache_path(address: Address) -> Path:
    """Where the file of an address with a checksum is kept: under its own name, which results have too."""
    return _folder() / hashlib.sha256(str(address).encode()).hexdigest()[:16] / address.name


def _is_cached(address: Address) -> bool:
    """Whether a file with the checksum of its address is in the cache; a damaged one is downloaded again."""
    path = _cache_path(address)
    try:
        return path.is_file() and _digest(path) == address.sha256
    except OSError:
        return False


@contextmanager
def _temporary_file() -> Iterator[Path]:
    """A file for a download, which is gone at the end of the block unless it was moved."""
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=_folder(), suffix=".part")
    except OSError as error:
        raise InputError(f"{files.write_error(_folder(), error)}, by XDG_CACHE_HOME") from None
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _fetch(address: Address, part: Path) -> None:
    """Download into a file. Raises InputError, with what the server or the network says."""
    url = address.url
    try:
        _file_system(address).get_file(url, str(part), callback=_size_limit(url))
    except InputError:
        raise
    except ImportError:
        raise InputError(
            f"{url} is read by packages that are not installed: pip install 'robust-tickets[remote]', or "
            "download the file and give its path"
        ) from None
    except FileNotFoundError:
        private = " (one that is not public needs `hf auth login`)" if url.lower().startswith("hf:") else ""
        raise InputError(f"there is no file at {url}: check the address{private}") from None
    except TimeoutError:
        raise InputError(f"{url} does not answer for {TIMEOUT:g} seconds: try again later") from None
    except Exception as error:  # each file system raises what its own libraries do
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise files.write_error(part, error) from None
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise InputError(
            f"cannot download {url} ({reason:.200}): check address and network, then try again"
        ) from None


def _file_system(address: Address) -> Any:
    """The file system of an address. Raises ImportError where its packages are not installed."""
    import fsspec  # with what it imports, not for those who have their files

    if address.url.lower().startswith("hf:"):
        return fsspec.filesystem("hf", skip_instance_cache=True)
    import aiohttp

    async def check_redirect(session: Any, context: Any, request: Any) -> None:
        headers = request.response.headers
        location = headers.get("Location") or headers.get("URI") or ""
        address.check_connection(urljoin(str(request.url), location))

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(check_redirect)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT, sock_read=TIMEOUT)
    # trust_env: proxies and ~/.netrc, as other programs
    options = {"timeout": timeout, "trace_configs": [trace], "trust_env": True}
    return fsspec.filesystem("https", client_kwargs=options, skip_instance_cache=True)


def _size_limit(url: str) -> Any:
    """A callback of fsspec that stops a download which is, or says that it will be, too large."""
    from fsspec.callbacks import Callback

    class SizeLimit(Callback):  # type: ignore[misc, unused-ignore]
        def call(self, *args: object, **kwargs: object) -> None:
            if max(self.size or 0, self.value) > LARGEST:
                raise InputError(
                    f"{url} is larger than {LARGEST:,} bytes, which no ticket is: check the address, or "
                    "download the file and give its path"
                )

    return SizeLimit()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_safetensors(address: Address, part: Path) -> None:
    """Raise InputError for a file whose header is not that of a whole safetensors file."""
    try:
        with safe_open(part, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{address.url} is no whole safetensors file ({error}), and no other kind is read from an "
            "address: check that it leads to the file itself and not to a page about it"
        ) from None
