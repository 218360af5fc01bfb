"""Wrong folders of the user's own images: the message names what is wrong and the file."""

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from image_folders import PACKED, as_tar, as_tree, as_zip, contents, load, picture, same, without
from PIL import Image

from robust_tickets.base.errors import InputError
from robust_tickets.data import data_paths
from robust_tickets.data import load as loading
from robust_tickets.recipe.fields import Data

pytestmark = pytest.mark.usefixtures("cache")


def deep(kind, dtype):
    file = io.BytesIO()
    Image.fromarray(np.zeros((9, 12), dtype)).save(file, kind)
    return file.getvalue()


def huge():
    content = picture(1, kind="BMP")
    return content[:18] + (30_000).to_bytes(4, "little") + (30_000).to_bytes(4, "little") + content[26:]


MISTAKES = {
    r"no images.*train/<class>/\*.*png": lambda f: {"README": b""},
    "no images in class folders": lambda f: {"1.png": picture(1)},
    "one class, 'ant'": lambda f: {f"ant/{i}.png": picture(i) for i in range(5)},
    "no test images of the class 'bee'": lambda f: without(f, "test/bee"),
    "no training images of the class 'bee'": lambda f: without(f, "train/bee"),
    "'ant' has one image.*add images": lambda f: dict.fromkeys(
        ["ant/1.png", "bee/1.png", "bee/2.png"], picture(1)
    ),
    r"test/cat/1\.png is 9 x 12.*12 x 9.*--data\.resize 9": lambda f: (
        f | {"test/cat/1.png": picture(1, (9, 12))}
    ),
    r"test/cat/1\.png is no readable image \(.*trunc": lambda f: f | {"test/cat/1.png": picture(1)[:-30]},
    r"test/cat/1\.png is no readable image \(cannot": lambda f: f | {"test/cat/1.png": b"<html>"},
    r"test/cat/1\.png.*8 bits": lambda f: f | {"test/cat/1.png": deep("PNG", np.uint16)},
    r"test/cat/1\.tif.*8 bits .*mode F": lambda f: f | {"test/cat/1.tif": deep("TIFF", np.float32)},
    r"test/cat/1\.bmp is no readable image": lambda f: f | {"test/cat/1.bmp": huge()},
    r"test/cat/9\.png.* 67108865 bytes, larger than any image .64 MiB": lambda f: (
        f | {"test/cat/9.png": bytes((64 << 20) + 1)}
    ),
}


@pytest.mark.parametrize("packed", ["tree", "tar", "zip"])
@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_is_named_with_its_file(tmp_path, cache, message, packed):
    root = PACKED[packed](tmp_path / f"data.{packed}", MISTAKES[message](contents()))
    with pytest.raises(InputError, match=message):
        load(root)
    assert not cache.exists() or not list(cache.iterdir())


def test_images_too_large_for_memory_are_refused_before_decoding(tmp_path, monkeypatch):
    root = as_tree(tmp_path / "tree", contents())
    size = 30 * 3 * 9 * 12
    monkeypatch.setattr("robust_tickets.data.folder.LARGEST", size)
    load(root)
    monkeypatch.setattr("robust_tickets.data.folder.LARGEST", size - 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    monkeypatch.setattr("robust_tickets.data.image_decoding.decode_into", None)
    with pytest.raises(InputError, match=r"30 images .* GiB decoded.*--data\.resize 2"):
        load(root)


def tar_with(path, name, kind):
    as_tar(path, contents())
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "train/ant/0.png"
        archive.addfile(member)


def zip_with(path, name, mode):
    as_zip(path, contents())
    with zipfile.ZipFile(path, "a") as archive:
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        archive.writestr(member, b"train/ant/0.png")


ODD_MEMBERS = {
    "soft link": (tar_with, "test/cat/9.png", tarfile.SYMTYPE),
    "hard link": (tar_with, "test/cat/9.png", tarfile.LNKTYPE),
    "link in a zip": (zip_with, "test/cat/9.png", stat.S_IFLNK | 0o777),
    "out of the class": (tar_with, "test/cat/../9.png", tarfile.REGTYPE),
    "out of the archive": (tar_with, "../ant/9.png", tarfile.REGTYPE),
}


@pytest.mark.parametrize(("make", "name", "kind"), ODD_MEMBERS.values(), ids=ODD_MEMBERS)
def test_links_and_paths_out_of_the_archive_are_refused(tmp_path, make, name, kind):
    make(tmp_path / "a", name, kind)
    with pytest.raises(
        InputError, match=f"{name}.* is a link|the path {name}, which leads out of the archive"
    ):
        load(tmp_path / "a")


def test_an_encrypted_zip_is_refused(tmp_path):
    content = bytearray(as_zip(tmp_path / "a.zip", contents()).read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := content.find(mark, start + 1)) >= 0:
            content[start + at] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"encrypted: .*without a password"):
        load(tmp_path / "a.zip")


def test_links_in_a_tree_are_followed_and_broken_ones_named(tmp_path):
    files = contents()
    expected = load(as_tree(tmp_path / "tree", files))
    os.symlink(tmp_path / "tree" / "train", tmp_path / "tree" / "train" / "ant" / "round")  # noqa: PTH211
    (tmp_path / "links").mkdir()
    for part in ("train", "test"):
        (tmp_path / "links" / part).symlink_to(tmp_path / "tree" / part)
    assert same(load(tmp_path / "links"), expected)
    (tmp_path / "tree" / "test" / "cat" / "9.png").symlink_to("nowhere.png")
    with pytest.raises(InputError, match=r"9\.png"):
        load(tmp_path / "tree")


def test_validation_leaves_images_of_every_class(tmp_path):
    files = contents(each=8) | {f"train/dog/{i}.png": picture(i) for i in range(2)}
    root = as_tree(tmp_path / "tree", files | {"test/dog/1.png": picture(1)})
    assert set(load(root, val_images=4).train.labels.tolist()) == {0, 1, 2, 3}
    assert torch.bincount(load(root, val_images=9).train.labels).tolist() == [5, 5, 5, 2]


PATHS = {
    r"--data\.root.*ROBUST_TICKETS_FOLDER$": Data("folder"),
    r"away not found: pass --data\.root.*ROBUST_TICKETS_FOLDER$": Data("folder", root=Path("away")),
    "cannot be downloaded": Data("folder", download=True),
    r"passed in Python \(robust_tickets\.images\)": Data("own"),
    r"come with scikit-learn.*--data\.root": Data("digits", root=Path("away")),
    r"come with scikit-learn.*--data\.download": Data("digits", download=True),
}


@pytest.mark.parametrize("message", PATHS)
def test_a_wrong_path_is_named(message):
    data = PATHS[message]
    for call in (loading.load,) if data.name == "own" else (loading.load, data_paths.check_data_path):
        with pytest.raises(InputError, match=message):
            call(data)


def test_the_path_may_come_from_the_environment_and_the_recipe_s_goes_first(tmp_path, monkeypatch):
    root, other = (as_tree(tmp_path / name, contents(each=each)) for name, each in (("one", 5), ("two", 6)))
    expected = load(root), load(other)
    monkeypatch.setenv("ROBUST_TICKETS_FOLDER", str(root))
    assert same(load(None), expected[0])
    assert same(load(other), expected[1])
