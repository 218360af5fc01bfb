"""Which class and part the images of a folder belong to, told by their paths alone."""

from collections.abc import Iterable
from dataclasses import dataclass, field

TEST_PARTS = ("test", "val", "valid", "validation")
"""Names of the folder of test images; the first that there is."""

Classes = dict[str, list[str]]
"""Paths of the images by class, both in order of name."""


@dataclass
class ClassFolders:
    """The images by part and class; `test` is empty where there is no such part.

    `test_part` is the name of its folder, and `others` are images that lie in no class folder of either part.
    """

    train: Classes = field(default_factory=dict)
    test: Classes = field(default_factory=dict)
    test_part: str = ""
    others: list[str] = field(default_factory=list)


def find_class_folders(names: Iterable[str]) -> ClassFolders:
    """Arrange paths of images: train/<class>/* and test/<class>/*, or <class>/*.

    Either may lie in one enclosing folder, as most archives have it; val, valid or validation stand for test
    where there is none, and train alone is as good as <class>/*.
    """
    paths = {tuple(name.split("/")): name for name in sorted(names)}
    tops = {path[0] for path in paths if len(path) > 1}
    starts: list[tuple[str, ...]] = [(), *((top,) for top in tops if len(tops) == 1)]
    found = ClassFolders()
    for start in starts:
        parts = {top.lower(): top for top in sorted({p[len(start)] for p in paths if len(p) > len(start)})}
        train = _classes(paths, (*start, parts["train"])) if "train" in parts else {}
        if train:
            tests = ((name, _classes(paths, (*start, parts[name]))) for name in TEST_PARTS if name in parts)
            test_part, test = next(((name, test) for name, test in tests if test), ("", {}))
            found = ClassFolders(train, test, parts.get(test_part, ""))
            break
    else:
        # of <class>/* and <enclosing>/<class>/* the first that has two classes, or has any
        choices = sorted(
            (_classes(paths, start) for start in starts), key=lambda c: min(len(c), 2), reverse=True
        )
        found = ClassFolders(choices[0])
    used = {name for part in (found.train, found.test) for names in part.values() for name in names}
    found.others = [name for name in paths.values() if name not in used]
    return found


def _classes(paths: dict[tuple[str, ...], str], start: tuple[str, ...]) -> Classes:
    """The images just below <start>/<class>."""
    classes: Classes = {}
    for path in sorted(paths):
        if len(path) == len(start) + 2 and path[: len(start)] == start:
            classes.setdefault(path[-2], []).append(paths[path])
    return dict(sorted(classes.items()))
