"""Names of class folders: those that look alike, and numbers, whose order is that of texts."""

import unicodedata
from collections.abc import Callable, Iterable

from robust_tickets.data.class_folders import Classes

_NAMES_SHOWN = 4


def match_names(train: Classes, test: Classes, log: Callable[[str], None]) -> tuple[Classes, Classes]:
    """Both parts with one name for each class.

    Names of the same text in different code points (NFC and NFD, as systems write "é") are one class. So are
    names of the two parts that differ in case or spaces alone, where there is no doubt. The name of the
    training part is kept, as it decides the label.

    log: is told of names that are taken as one, and of classes whose names look alike.
    """
    train, test = _merge(train, log), _merge(test, log)
    if train and test:
        for key in (_text, _loose):
            test = _renamed(train, test, key, log)
    groups: dict[str, list[str]] = {}
    for name in sorted({*train, *test}):
        groups.setdefault(_loose(name), []).append(name)
    for names in groups.values():
        if len(names) > 1:
            log(f"classes whose names look alike: {_listed(names)}; rename the folders if they are one class")
    return train, test


def describe_numbers(classes: list[str]) -> str:
    """A line on classes that are numbers, where their labels are others; else empty."""
    if not all(name.isdecimal() for name in classes) or all(
        int(name) == label for label, name in enumerate(classes)
    ):
        return ""
    pairs = [f"label {label} is {name!r}" for label, name in enumerate(classes[:_NAMES_SHOWN])]
    more = ", ..." if len(classes) > _NAMES_SHOWN else ""
    return f"classes are numbers, and labels follow their order as texts, from 0: {', '.join(pairs)}{more}"


def _merge(part: Classes, log: Callable[[str], None]) -> Classes:
    """A part in which folders of the same text are one class, under the first of their names."""
    merged: Classes = {}
    first: dict[str, str] = {}
    for name, files in part.items():
        kept = first.setdefault(_text(name), name)
        if kept != name:
            log(f"two folders are called {_text(name)!r} in different code points: they are one class")
        merged.setdefault(kept, []).extend(files)
    return merged


def _renamed(train: Classes, test: Classes, key: Callable[[str], str], log: Callable[[str], None]) -> Classes:
    """The test part with the names of the training part, where `key` pairs those that have no partner."""
    targets = _by_key(train.keys() - test.keys(), key)
    sources = _by_key(test.keys() - train.keys(), key)
    names = {
        source[0]: targets[text][0]
        for text, source in sources.items()
        if len(source) == 1 == len(targets.get(text, ()))
    }
    for source, target in sorted(names.items()):
        how = "in other code points" if _text(source) == _text(target) else repr(source)
        log(f"the class {target!r} of the training images is written {how} in the test images' folder")
    return dict(sorted((names.get(name, name), files) for name, files in test.items()))


def _by_key(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(key(name), []).append(name)
    return groups


def _text(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _loose(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _listed(names: list[str]) -> str:
    return " and ".join(repr(name) for name in names[:_NAMES_SHOWN])
