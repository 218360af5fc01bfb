"""Addresses of files elsewhere: https:// or hf://, with the checksum of the file after a #."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import PurePosixPath
from urllib.parse import SplitResult, unquote, urlsplit

from robust_tickets.base.errors import InputError

SCHEMES = ("https", "http", "hf")
"""What an address may begin with."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_CHECKSUM = "#sha256="
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Address:
    """The address of a file.

    url: without the checksum.
    sha256: 64 hex digits that the file's content must have; "": any content is taken.
    """

    url: str
    sha256: str = ""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read an address, such as https://host/ticket.safetensors#sha256=HEX.

        Raises InputError for one that names no file, has something else after the #, or asks for a download
        that anybody on the way could change.
        """
        url, _, fragment = text.partition("#")
        try:
            parts = urlsplit(url)
            scheme, host, _ = parts.scheme.lower(), parts.hostname, parts.port
        except ValueError as error:
            raise InputError(f"{text} is no address ({error}): check it") from None
        if scheme not in SCHEMES:
            raise InputError(f"{text} cannot be read: give a path, or an address with https:// or hf://")
        if not host or not parts.path.strip("/"):
            raise InputError(f"{text} names no file: write {scheme}://.../NAME.safetensors")
        folders = 3 if host in ("datasets", "spaces") else 2  # the repository's name and the file's at least
        if scheme == "hf" and len(parts.path.strip("/").split("/")) < folders:
            raise InputError(f"{text} names no file of a repository: write hf://USER/REPO/NAME.safetensors")
        if parts.username is not None:  # messages show addresses
            raise InputError("an address must not have a user or password in it: keep them in ~/.netrc")
        address = cls(url, _read_checksum(text, fragment) if "#" in text else "")
        address.check_connection(url)
        return address

    def check_connection(self, url: str) -> None:
        """Raise InputError for a connection without encryption, unless a checksum says what is expected.

        url: the address itself, or the one that its server names instead.
        """
        parts = urlsplit(url)
        if parts.scheme.lower() == "http" and not self.sha256 and not _is_own_machine(parts):
            raise InputError(
                f"{url} is downloaded without encryption, so that anybody on the way can change it: write "
                f"https://, or add the checksum that you were given, {_CHECKSUM}HEX"
            )

    @property
    def name(self) -> str:
        """The name that the downloaded file gets, of letters, digits, dots, hyphens and underscores."""
        last = PurePosixPath(unquote(urlsplit(self.url).path)).name
        stem = re.sub(r"[^\w.-]", "_", last.removesuffix(".safetensors"), flags=re.ASCII).lstrip(".")
        return f"{stem[:_LONGEST_NAME] or 'file'}.safetensors"

    def with_checksum(self, sha256: str) -> "Address":
        """The address of exactly this content."""
        return Address(self.url, sha256)

    def __str__(self) -> str:
        return self.url + (_CHECKSUM + self.sha256 if self.sha256 else "")


def is_address(text: str) -> bool:
    """Whether a text is an address and no path."""
    return _SCHEME.match(text) is not None


def _read_checksum(text: str, fragment: str) -> str:
    sha256 = fragment.lower().removeprefix("sha256=")
    if sha256 == fragment.lower() or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise InputError(f"{text} has no checksum after its #: write {_CHECKSUM} and 64 hex digits")
    return sha256


def _is_own_machine(parts: SplitResult) -> bool:
    """Whether a host is this machine, to which no other one lies on the way."""
    host = parts.hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
