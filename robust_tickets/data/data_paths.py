"""Where the images of a data set are: told by the recipe, by the environment, or known beforehand."""

import os
from pathlib import Path

from robust_tickets.base.errors import InputError
from robust_tickets.data import cache
from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe.fields import Data, DataName

DEBIAN: dict[DataName, Path] = {"fashion-mnist": Path("/usr/share/datasets/fashion-mnist")}
"""Where Debian's packages put a set (dataset-fashion-mnist)."""

_IDX = "torchvision's folder or one with the four idx files"

KINDS: dict[DataName, str] = {
    "cifar10": "torchvision's folder, a tree train/<class>/*.png and test/<class>/*.png, or a tar of one",
    "cifar100": "torchvision's folder",
    "svhn": "the folder of train_32x32.mat and test_32x32.mat",
    "mnist": _IDX,
    "fashion-mnist": f"{_IDX}, such as that of Debian's package dataset-fashion-mnist",
    "folder": "a tree train/<class>/* and test/<class>/*, or <class>/* alone, or a tar or zip of one",
}
"""What may lie in the place, of the sets that have one."""


def variable(name: DataName) -> str:
    """The environment variable that is asked where the recipe names no place, as ROBUST_TICKETS_CIFAR10."""
    return f"ROBUST_TICKETS_{name.upper().replace('-', '_')}"


def ways(name: DataName) -> str:
    """How a person gives the place of a set."""
    if name == "folder":
        return (
            f"give their place by --data.root ({KINDS[name]}) or by the environment variable {variable(name)}"
        )
    return (
        f"give its place by --data.root ({KINDS[name]}), by the environment variable {variable(name)}, "
        "or add --data.download"
    )


def place(data: Data) -> Path:
    """Where the images are, or where a download puts them. Raises InputError where that is not known."""
    told = os.environ.get(variable(data.name))
    root = data.root or (Path(told) if told else None)
    if data.download:
        if data.name == "folder":
            raise InputError("a folder of your own cannot be downloaded: leave out --data.download")
        if root is not None and root.is_file():
            raise InputError(f"{root} is a file, and a download needs a folder: leave out --data.download")
        return root or cache.folder() / "torchvision"
    if root is None:
        known = DEBIAN.get(data.name)
        if known is not None and known.is_dir():
            return known
        what = "are the images" if data.name == "folder" else f"is {SPECS[data.name].title}"
        raise InputError(f"where {what}? {ways(data.name)}")
    if not root.exists():
        raise InputError(f"there is no {root}: {ways(data.name)}")
    return root


def check_place(data: Data) -> None:
    """Raise InputError for a place of images that have none, and for images whose place is not known."""
    if data.name in KINDS:
        place(data)
    elif data.root is not None or data.download:
        why = "the digits are embedded" if data.name == "digits" else "own images are handed over in Python"
        raise InputError(f"{why}: leave out --data.root and --data.download")
