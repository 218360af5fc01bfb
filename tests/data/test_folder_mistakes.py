"""Wrong folders of the user's own images: the message names what is wrong and the file."""

import io
import os
import stat
import tarfile
import zipfile

import numpy as np
import pytest
from image_folders import PACKED, as_tar, as_tree, as_zip, contents, load, picture, same, without
from PIL import Image

from robust_tickets.base.errors import InputError
from robust_tickets.data import data_paths
from robust_tickets.data import load as loading
from robust_tickets.recipe.fields import Data

pytestmark = pytest.mark.usefixtures("cache")


def deep(kind, mode):
    file = io.BytesIO()
    Image.fromarray(np.zeros((9, 12), np.uint16 if mode == "I;16" else np.float32)).save(file, kind)
    return file.getvalue()


def huge():
    content = picture(1, kind="BMP")
    return content[:18] + (30_000).to_bytes(4, "little") + (30_000).to_bytes(4, "little") + content[26:]


MISTAKES = {
    "nothing": (lambda f: {"README": b""}, ["no images", "train/<class>/*", "png"]),
    "no class folders": (lambda f: {"1.png": picture(1)}, ["no images in class folders"]),
    "one class": (lambda f: {f"ant/{i}.png": picture(i) for i in range(5)}, ["one class, 'ant'"]),
    "a class not tested": (lambda f: without(f, "test/bee"), ["no test images of the class 'bee'"]),
    "a class not trained": (lambda f: without(f, "train/bee"), ["no training images of the class 'bee'"]),
    "a class of one": (
        lambda f: {"ant/1.png": picture(1), "bee/1.png": picture(2), "bee/2.png": picture(3)},
        ["'ant' has one image", "add images"],
    ),
    "another size": (
        lambda f: f | {"test/cat/1.png": picture(1, (9, 12))},
        ["test/cat/1.png is 9 x 12", "12 x 9", "--data.resize 9"],
    ),
    "an image cut short": (
        lambda f: f | {"test/cat/1.png": f["test/cat/1.png"][:-30]},
        ["test/cat/1.png is no readable image"],
    ),
    "no image": (lambda f: f | {"test/cat/1.png": b"<html>"}, ["test/cat/1.png is no readable image"]),
    "16 bits": (lambda f: f | {"test/cat/1.png": deep("PNG", "I;16")}, ["test/cat/1.png", "8 bits"]),
    "floats": (lambda f: f | {"test/cat/1.tif": deep("TIFF", "F")}, ["test/cat/1.tif", "8 bits", "mode F"]),
    "too many pixels": (lambda f: f | {"test/cat/1.bmp": huge()}, ["test/cat/1.bmp is no readable image"]),
}


@pytest.mark.parametrize("packed", ["tree", "tar", "zip"])
@pytest.mark.parametrize(("change", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_file(tmp_path, cache, change, words, packed):
    root = PACKED[packed](tmp_path / f"data.{packed}", change(contents()))
    with pytest.raises(InputError) as caught:
        load(root)
    assert all(word in str(caught.value) for word in words), str(caught.value)
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


@pytest.mark.parametrize("packed", ["tree", "tar", "zip"])
def test_a_file_too_large_for_an_image_is_refused(tmp_path, packed):
    root = PACKED[packed](tmp_path / f"data.{packed}", contents() | {"test/cat/9.png": bytes((64 << 20) + 1)})
    with pytest.raises(InputError, match=r"test/cat/9\.png.* 67108865 bytes, larger than any image .64 MiB"):
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
    "soft link": (tar_with, "test/cat/9.png", tarfile.SYMTYPE, "link"),
    "hard link": (tar_with, "test/cat/9.png", tarfile.LNKTYPE, "link"),
    "link in a zip": (zip_with, "test/cat/9.png", stat.S_IFLNK | 0o777, "link"),
    "out of the class": (tar_with, "test/cat/../9.png", tarfile.REGTYPE, None),
    "part of a path": (tar_with, "../ant/9.png", tarfile.REGTYPE, None),
}


@pytest.mark.parametrize(("make", "name", "kind", "word"), ODD_MEMBERS.values(), ids=ODD_MEMBERS)
def test_links_and_paths_out_of_the_archive_are_refused(tmp_path, make, name, kind, word):
    expected = load(as_tree(tmp_path / "tree", contents()))
    make(tmp_path / "a", name, kind)
    try:
        dataset = load(tmp_path / "a")
    except InputError as error:
        assert (word or "leads out of the archive") in str(error)  # noqa: PT017
        assert name in str(error)  # noqa: PT017
    else:
        assert word is None
        assert same(dataset, expected)


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


def test_validation_must_leave_images_of_every_class(tmp_path):
    files = contents(each=8) | {f"train/dog/{i}.png": picture(i) for i in range(2)}
    root = as_tree(tmp_path / "tree", files | {"test/dog/1.png": picture(1)})
    assert set(load(root, val_images=4).train.labels.tolist()) == {0, 1, 2, 3}
    with pytest.raises(InputError, match=r"data\.val_images 9 leaves no training image of the class 'dog'"):
        load(root, val_images=9)


PATHS = {
    "no path": (Data("folder"), ["--data.root", "ROBUST_TICKETS_FOLDER"]),
    "absent": (Data("folder", root="{here}/away"), ["{here}/away not found", "--data.root"]),
    "a download": (Data("folder", download=True), ["cannot be downloaded"]),
    "own": (Data("own"), ["passed in Python", "robust_tickets.images"]),
    "digits with a path": (Data("digits", root="{here}"), ["come with scikit-learn", "--data.root"]),
    "digits downloaded": (Data("digits", download=True), ["come with scikit-learn", "--data.download"]),
}


@pytest.mark.parametrize(("data", "words"), PATHS.values(), ids=PATHS)
def test_a_wrong_path_is_named(tmp_path, data, words):
    if data.root:
        data = Data(data.name, root=type(tmp_path)(str(data.root).format(here=tmp_path)))
    calls = (loading.load,) if data == Data("own") else (loading.load, data_paths.check_data_path)
    for call in calls:
        with pytest.raises(InputError) as caught:
            call(data)
        assert all(word.format(here=tmp_path) in str(caught.value) for word in words), str(caught.value)
        assert data.name != "folder" or data.download or "--data.download" not in str(caught.value)


def test_the_path_may_come_from_the_environment_and_the_recipe_s_goes_first(tmp_path, monkeypatch):
    root, other = (as_tree(tmp_path / name, contents(each=each)) for name, each in (("one", 5), ("two", 6)))
    expected = load(root), load(other)
    monkeypatch.setenv("ROBUST_TICKETS_FOLDER", str(root))
    assert same(load(None), expected[0])
    assert same(load(other), expected[1])
