"""The value of flags that name a file to read: a path, or an address."""

from functools import cached_property
from pathlib import Path


class InputFile:
    """A file that a command reads: by its path, or by an https:// or hf:// address, which is downloaded."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def path(self) -> Path:
        """The file on this machine. Raises InputError where it cannot be downloaded."""
        from robust_tickets.runs import downloads  # not for help and for mistakes

        return downloads.local_file("the file", self._text)

    def __str__(self) -> str:
        return self._text
