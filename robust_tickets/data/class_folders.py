"""The class and part of each image of a folder, from its path alone."""

from collections.abc import Iterable
from dataclasses import dataclass, field

TEST_PARTS = ("test", "val", "valid", "validation")
"""Names of the folder of test images, in order of preference."""

Classes = dict[str, list[str]]
"""Paths of images by class, both in order of name."""


@dataclass
class ClassFolders:
    """The images of a folder by part and class."""

    train: Classes = field(default_factory=dict)
    """empty if there is a test part alone"""
    test: Classes = field(default_factory=dict)
    """empty if there is no test part"""
    test_part: str = ""
    """name of the folder of the test part"""
    others: list[str] = field(default_factory=list)
    """images in no class folder of either part"""


def find_class_folders(names: Iterable[str]) -> ClassFolders:
    """Sort the paths of images by part and class: train/<class>/* and test/<class>/*, or <class>/*.

    Both may be in one enclosing folder, as in most archives. If there is no test folder, val, valid or
    validation is used; train/<class>/* alone equals <class>/*. A test part alone is no enclosing folder.
    """
    paths = {tuple(name.split("/")): name for name in sorted(names)}
    tops = {path[0] for path in paths if len(path) > 1}
    starts: list[tuple[str, ...]] = [(), *((top,) for top in tops if len(tops) == 1)]
    folders = ClassFolders()
    for start in starts:
        parts = {top.lower(): top for top in sorted({p[len(start)] for p in paths if len(p) > len(start)})}
        train = _classes(paths, (*start, parts["train"])) if "train" in parts else {}
        if train or (parts and parts.keys() <= set(TEST_PARTS)):
            tests = ((name, _classes(paths, (*start, parts[name]))) for name in TEST_PARTS if name in parts)
            test_part, test = next(((name, test) for name, test in tests if test), ("", {}))
            folders = ClassFolders(train, test, parts.get(test_part, ""))
        if folders.train or folders.test:
            break
    else:
        # of <class>/* and <enclosing>/<class>/* the first with two classes, else with one
        choices = sorted(
            (_classes(paths, start) for start in starts), key=lambda c: min(len(c), 2), reverse=True
        )
        folders = ClassFolders(choices[0])
    used = {name for part in (folders.train, folders.test) for names in part.values() for name in names}
    folders.others = [name for name in paths.values() if name not in used]
    return folders


def _classes(paths: dict[tuple[str, ...], str], start: tuple[str, ...]) -> Classes:
    """The images directly in <start>/<class>."""
    classes: Classes = {}
    for path in sorted(paths):
        if len(path) == len(start) + 2 and path[: len(start)] == start:
            classes.setdefault(path[-2], []).append(paths[path])
    return dict(sorted(classes.items()))
