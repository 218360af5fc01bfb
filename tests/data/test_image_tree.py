"""CIFAR-10 as image files: equal to Pillow's decoding from a tree and any archive, or a mistake is named."""

import random

import numpy as np
import pytest
import torch
from image_folders import PACKED, as_tree, assert_decoded, by_pillow, contents, picture, without

from robust_tickets.base.errors import InputError
from robust_tickets.data import image_tree
from robust_tickets.data.load import CIFAR10_CLASSES

PARTS = ("train", "test")


def cifar(**options):
    return contents(each=1, classes=CIFAR10_CLASSES, size=(32, 32), **options)


@pytest.fixture(scope="module")
def files():
    """A tree with two images a class and part, the second of which is a JPEG."""
    jpegs = {name.replace("0.png", "1.jpg"): content for name, content in cifar(kind="JPEG").items()}
    return dict(sorted((cifar() | jpegs).items()))


def decode(root, log=lambda line: None):
    return image_tree.decode(root, CIFAR10_CLASSES, (3, 32, 32), log)


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def tree(files, tmp_path_factory):
    return as_tree(tmp_path_factory.mktemp("tree"), files)


@pytest.fixture(scope="module")
def arrays(tree):
    return decode(tree)


def test_images_equal_pillow_s_in_order_of_class_and_name(files, arrays):
    for part in PARTS:
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        assert_decoded(images, labels, files, part, CIFAR10_CLASSES)


@pytest.mark.parametrize("packed", ["tar", "tar.gz", "tar.xz"])
@pytest.mark.parametrize("prefix", ["", "./", "./a/b/"])
def test_an_archive_gives_the_arrays_of_the_tree_in_any_order_and_without_other_files(
    files, arrays, tmp_path, packed, prefix
):
    others = ("README.md", "train/labels.txt", "train/cat/notes.txt", "docs/logos/1.png")
    more = {**files, **dict.fromkeys(others, b"")}
    names = list(more)
    random.Random(0).shuffle(names)
    root = PACKED[packed](tmp_path / "a", {prefix + name: more[name] for name in names})
    assert same(decode(root), arrays)


@pytest.mark.parametrize(
    ("more", "lossy"), [({}, False), ({"test/cat/1.png": picture(3, (32, 32), kind="JPEG")}, True)]
)
def test_lossy_is_whether_any_file_is_a_jpeg_and_decoding_is_logged_once(tmp_path, more, lossy):
    lines = []
    assert bool(decode(as_tree(tmp_path / "some", cifar() | more), lines.append)["lossy"]) is lossy
    assert len(lines) == 1
    assert "some" in lines[0]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_every_kind_of_png_becomes_rgb(files, tmp_path, mode):
    content = picture(5, (32, 32), mode)
    arrays = decode(as_tree(tmp_path, files | {"train/airplane/0.png": content}))
    assert np.array_equal(arrays["train_images"][0], by_pillow(content))


MISTAKES = {
    "the class 'kitten'.*expected.*truck": lambda f: f | {"train/kitten/1.png": picture(1)},
    "no images train/frog.*for each class": lambda f: without(f, "train/frog"),
    "no images test/airplane.*tree": lambda f: without(f, "test"),
    r"test/cat/0\.png.*12 x 9.*32 x 32": lambda f: f | {"test/cat/0.png": picture(1)},
    r"train/dog/9\.jpg is no readable image": lambda f: f | {"train/dog/9.jpg": b"<html>"},
    r"test/cat/1\.jpg is no readable image": lambda f: f | {"test/cat/1.jpg": f["test/cat/1.jpg"][:200]},
    r"train/dog/9\.png": lambda f: f | {"train/dog/9.png": picture(1, (32, 32), kind="GIF")},
    r"train/cat/9\.png.*2097152 bytes": lambda f: f | {"train/cat/9.png": bytes(2 << 20)},
}


@pytest.mark.parametrize("packed", ["tree", "tar"])
@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_is_named_with_its_file(files, tmp_path, message, packed):
    root = PACKED[packed](tmp_path / "data", MISTAKES[message](files))
    with pytest.raises(InputError, match=message):
        decode(root)


def test_a_folder_in_place_of_a_file_is_named(files, tmp_path):
    as_tree(tmp_path, files)
    (tmp_path / "train" / "cat" / "9.png").mkdir()
    with pytest.raises(InputError, match=r"9\.png"):
        decode(tmp_path)


@pytest.mark.parametrize("content", [b"", b"text " * 1000, b"\x1f\x8b", b"\xfd7zXZ\x00", b"PK\x03\x04" * 300])
def test_a_file_that_is_no_archive_is_named(tmp_path, content):
    (tmp_path / "data.tar.xz").write_bytes(content)
    with pytest.raises(InputError, match=r"data\.tar\.xz"):
        decode(tmp_path / "data.tar.xz")


@pytest.mark.parametrize("packed", ["tar", "tar.gz", "tar.xz"])
def test_an_archive_cut_short_is_refused_or_complete(files, arrays, tmp_path, packed):
    content = PACKED[packed](tmp_path / "whole", files).read_bytes()
    cut = tmp_path / "cut"
    generator = random.Random(0)
    refused = 0
    for length in [0, 1, 100, 511, 513, *(generator.randrange(len(content)) for _ in range(20))]:
        cut.write_bytes(content[:length])
        try:
            assert same(decode(cut), arrays), f"{length} of {len(content)} bytes"
        except InputError as error:
            assert str(cut) in str(error)  # noqa: PT017 (either is allowed: padding may be lost)
            refused += 1
    assert refused >= 15
