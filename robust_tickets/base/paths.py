"""Paths as users write them: with ~ for the home folder, and modules by the path of their file."""

import os
import sys
from pathlib import Path

from robust_tickets.base.errors import InputError


def expand_home(path: str | Path) -> Path:
    """A path in which ~ and ~user are the home folder.

    Raises InputError where the system knows no home folder, or no such user. A file or folder that is
    called ~name stays what it is.
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:
        name = path.parts[0]
        if name != "~" and Path(name).exists():
            return path
        if name != "~":
            raise InputError(
                f"{path} cannot be expanded, as there is no user {name[1:]!r}: check it, or give the "
                "whole path of a folder of this name"
            ) from None
        raise InputError(
            f"{path} cannot be expanded, as there is no home folder: set HOME, or write the whole path"
        ) from None


def cache_folder() -> Path:
    """The user's cache folder for this project ($XDG_CACHE_HOME, or ~/.cache).

    Raises InputError where there is no home folder.
    """
    try:
        return expand_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "robust-tickets"
    except InputError:
        raise InputError("there is no home folder for the cache: set XDG_CACHE_HOME to a folder") from None


def follow_links(path: Path) -> Path:
    """The whole path without links. Raises InputError for links that lead in a circle."""
    try:
        return path.resolve()
    except (RuntimeError, OSError) as error:  # Python before 3.13 raises the first
        raise InputError(
            f"{path} cannot be followed ({error}): give another path, or mend the link"
        ) from None


def check_other_file(out: Path, source: Path) -> None:
    """Raise InputError for a file to write that is the one that is read."""
    if follow_links(out) == follow_links(source):
        raise InputError(f"{out} is the file that is read, and would be lost: give another --out")


def module_name(name: str) -> str:
    """`module:function` for `folder/module.py:function`, whose folder can be imported from now on.

    Any other name is given back as it is. Raises InputError where there is no such file.
    """
    file, colon, function = name.rpartition(":")
    if not colon or not file.endswith(".py"):
        return name
    path = expand_home(file)
    if not path.is_file():
        raise InputError(
            f"{name} names a file, {path}, which is not there: check it, or write module:function"
        )
    if not path.stem.isidentifier():
        raise InputError(f"{path} cannot be imported by its name: call it something like my_nets.py")
    loaded = getattr(sys.modules.get(path.stem), "__file__", None)
    if path.stem in sys.modules and (loaded is None or Path(loaded).resolve() != path.resolve()):
        raise InputError(
            f"{path} has the name of another module that is in use ({loaded or 'one of Python'}): rename it"
        )
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return f"{path.stem}:{function}"
