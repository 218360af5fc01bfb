"""Folders and archives of small random images, for tests."""

import io
import tarfile
import zipfile

import numpy as np
import torch
from PIL import Image

from robust_tickets.data import load as loading
from robust_tickets.recipe.fields import Data

CLASSES = ("ant", "bee", "cat")


def picture(seed, size=(12, 9), mode="RGB", kind="PNG"):
    """The bytes of an image file with a smooth image, which JPEG keeps small."""
    values = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).resize(size, Image.Resampling.BILINEAR).convert(mode).save(file, kind)
    return file.getvalue()


def contents(parts=("train/", "test/"), each=5, classes=CLASSES, **options):
    """Names and contents of a tree, `each` images a class and part; options are those of `picture`."""
    names = [f"{part}{label}/{i}.png" for part in parts for label in classes for i in range(each)]
    return {name: picture(number, **options) for number, name in enumerate(names)}


def as_tree(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def as_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for folder in sorted({name.rpartition("/")[0] for name in files if "/" in name}):
            member = tarfile.TarInfo(folder)
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def as_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


PACKED = {
    "tree": as_tree,
    "tar": as_tar,
    "tar.gz": lambda path, files: as_tar(path, files, "w:gz"),
    "tar.bz2": lambda path, files: as_tar(path, files, "w:bz2"),
    "tar.xz": lambda path, files: as_tar(path, files, "w:xz"),
    "zip": as_zip,
}


def load(root, lines=None, **options):
    log = (lambda line: None) if lines is None else lines.append
    return loading.load(Data("folder", root=root, **{"val_images": 3, **options}), log)


def same(ours, theirs):
    """Whether two data sets have equal titles, specs and images."""
    return (ours.title, ours.spec, ours.fingerprint) == (theirs.title, theirs.spec, theirs.fingerprint)


def all_training_images(dataset):
    """Images and labels of training and validation together, in order of their ids."""
    ids = torch.cat([dataset.train.ids, dataset.val.ids])
    order = ids.argsort()
    return (
        torch.cat([dataset.train.images, dataset.val.images])[order],
        torch.cat([dataset.train.labels, dataset.val.labels])[order],
    )


def by_pillow(content, mode="RGB"):
    """The pixels that Pillow decodes, (C, H, W)."""
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert(mode))
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)


def assert_decoded(images, labels, files, part, classes):
    """Images and labels are those of the part's files, in order of class and name."""
    names = sorted(name for name in files if name.startswith(part))
    assert np.array_equal(images.numpy(), np.stack([by_pillow(files[name]) for name in names]))
    assert labels.tolist() == [classes.index(name.split("/")[1]) for name in names]


def without(files, start):
    """The files whose names do not begin with `start`."""
    return {name: content for name, content in files.items() if not name.startswith(start)}
