"""The path of a data set: from the recipe, from the environment, or where a system package puts it."""

import os
from pathlib import Path

from robust_tickets.base.errors import InputError
from robust_tickets.base.paths import cache_folder, expand_home
from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe.fields import Data, DataName

DEBIAN: dict[DataName, Path] = {"fashion-mnist": Path("/usr/share/datasets/fashion-mnist")}
"""Where Debian's packages put a set (dataset-fashion-mnist)."""

_IDX = "torchvision's folder or one with the four idx files"

PATH_KINDS: dict[DataName, str] = {
    "cifar10": "torchvision's folder, a tree train/<class>/*.png and test/<class>/*.png, or a tar of one",
    "cifar100": "torchvision's folder",
    "svhn": "the folder of train_32x32.mat and test_32x32.mat",
    "mnist": _IDX,
    "fashion-mnist": f"{_IDX}, such as that of Debian's package dataset-fashion-mnist",
    "folder": "a tree train/<class>/* and test/<class>/*, or <class>/* alone, or a tar or zip of one",
}
"""What the path of a data set may be, for the sets that have one."""


def environment_variable(name: DataName) -> str:
    """The environment variable with a set's path, such as ROBUST_TICKETS_CIFAR10."""
    return f"ROBUST_TICKETS_{name.upper().replace('-', '_')}"


def path_hint(name: DataName) -> str:
    """The end of a message: how to give a set's path."""
    download = "" if name == "folder" else ", or add --data.download"
    comma = " or" if name == "folder" else ","
    return f"pass --data.root PATH ({PATH_KINDS[name]}){comma} set {environment_variable(name)}{download}"


def data_path(data: Data) -> Path:
    """The path of the images, or of the folder that they are downloaded to. Raises InputError for none."""
    variable = os.environ.get(environment_variable(data.name))
    root = data.root or (expand_home(variable) if variable else None)
    if data.download:
        if data.name == "folder":
            raise InputError("a folder of your own cannot be downloaded: leave out --data.download")
        if root is not None and root.is_file():
            raise InputError(f"{root} is a file, and a download needs a folder: leave out --data.download")
        return root or cache_folder() / "torchvision"
    if root is None:
        debian = DEBIAN.get(data.name)
        if debian is not None and debian.is_dir():
            return debian
        title = "images" if data.name == "folder" else SPECS[data.name].title
        raise InputError(f"{title} not found: {path_hint(data.name)}")
    if not root.exists():
        raise InputError(f"{root} not found: {path_hint(data.name)}")
    return root


def check_data_path(data: Data, needed: bool = True) -> None:
    """Raise InputError for a path of the images that is wrong, or given for a set that needs none.

    needed: whether it is wrong to give none; not before an estimate, which reads no images.
    """
    if data.name in PATH_KINDS:
        if needed or data.download or data.root is not None or environment_variable(data.name) in os.environ:
            data_path(data)
    elif data.root is not None or data.download:
        reason = (
            "the digits come with scikit-learn"
            if data.name == "digits"
            else "own images are passed in Python"
        )
        raise InputError(f"{reason}: leave out --data.root and --data.download")
