"""CIFAR-10 as image files: equal to Pillow's decoding from a tree and any archive, or a mistake is named."""

import io
import random
import tarfile

import numpy as np
import pytest
import torch
from image_folders import as_tree, picture, without
from PIL import Image

from robust_tickets.base.errors import InputError
from robust_tickets.data import image_tree
from robust_tickets.data.load import CIFAR10_CLASSES

SHAPE = (3, 32, 32)
PARTS = ("train", "test")
SUFFIXES = {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz"}


def encoded(seed, kind, size=(32, 32), mode="RGB"):
    return picture(seed, size, mode, kind)


def contents(kinds=("PNG", "JPEG")):
    """Names and contents of a files tree, two images a class and part."""
    files = {}
    for i, (part, label) in enumerate((part, label) for part in PARTS for label in CIFAR10_CLASSES):
        for j, kind in enumerate(kinds):
            files[f"{part}/{label}/{j:04}.{'png' if kind == 'PNG' else 'jpg'}"] = encoded(10 * i + j, kind)
    return files


@pytest.fixture(scope="module")
def files():
    return contents()


def as_tar(path, files, *, prefix="", mode="w", folders=True):
    with tarfile.open(path, mode) as archive:
        if folders:
            for name in sorted({prefix + name.rpartition("/")[0] for name in files}):
                member = tarfile.TarInfo(name)
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def decode(root, log=lambda line: None):
    return image_tree.decode(root, CIFAR10_CLASSES, SHAPE, log)


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
        names = sorted(name for name in files if name.startswith(part))
        theirs = [np.asarray(Image.open(io.BytesIO(files[name])).convert("RGB")) for name in names]
        assert arrays[f"{part}_images"].dtype == torch.uint8
        assert np.array_equal(arrays[f"{part}_images"].numpy(), np.stack(theirs).transpose(0, 3, 1, 2))
        assert arrays[f"{part}_labels"].tolist() == [
            CIFAR10_CLASSES.index(name.split("/")[1]) for name in names
        ]
        assert arrays[f"{part}_labels"].dtype == torch.int64


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("prefix", ["", "./", "cifar10/", "./a/b/"])
def test_an_archive_gives_the_arrays_of_the_tree(files, arrays, tmp_path, suffix, prefix):
    archive = as_tar(tmp_path / f"data.{suffix}", files, prefix=prefix, mode=SUFFIXES[suffix])
    assert same(decode(archive), arrays)


def test_the_order_in_the_archive_does_not_matter(files, arrays, tmp_path):
    names = list(files)
    random.Random(0).shuffle(names)
    assert same(decode(as_tar(tmp_path / "a.tar", {n: files[n] for n in names}, folders=False)), arrays)


def test_files_that_are_no_images_are_left_out(files, arrays, tmp_path):
    more = {
        "README.md": b"text",
        "train/labels.txt": b"text",
        "train/cat/notes.txt": b"text",
        "docs/logos/1.png": b"",
    }
    assert same(decode(as_tar(tmp_path / "a.tar", files | more)), arrays)
    assert same(decode(as_tree(tmp_path / "tree", files | more)), arrays)


@pytest.mark.parametrize(
    ("kinds", "lossy"), [(("PNG",), False), (("JPEG",), True), (("PNG", "JPEG"), True)], ids=str
)
def test_lossy_is_whether_any_file_is_a_jpeg(tmp_path, kinds, lossy):
    assert bool(decode(as_tree(tmp_path, contents(kinds)))["lossy"]) is lossy


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_every_kind_of_png_becomes_rgb(files, tmp_path, mode):
    content = encoded(5, "PNG", mode=mode)
    arrays = decode(as_tree(tmp_path, files | {"train/airplane/0000.png": content}))
    theirs = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert np.array_equal(arrays["train_images"][0].numpy(), theirs.transpose(2, 0, 1))


def test_decoding_is_logged_once(tree):
    lines = []
    decode(tree, lines.append)
    assert len(lines) == 1
    assert tree.name in lines[0]


def patched_jpeg(height, width):
    """A JPEG whose header has another size."""
    content = encoded(3, "JPEG")
    start = content.index(b"\xff\xc0") + 5
    size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return content[:start] + size + content[start + 4 :]


MISTAKES = {
    "an unknown class": (
        lambda f: f | {"train/kitten/1.png": encoded(1, "PNG")},
        ["'kitten'", "expected", "truck"],
    ),
    "a missing class": (lambda f: without(f, "train/frog"), ["train/frog", "for each class"]),
    "a class missing in test": (lambda f: without(f, "test/ship"), ["test/ship"]),
    "no test": (lambda f: without(f, "test"), ["no images test/airplane"]),
    "no train": (lambda f: without(f, "train"), ["no images train/airplane"]),
    "another size": (
        lambda f: f | {"test/cat/0000.png": encoded(1, "PNG", (28, 30))},
        ["test/cat/0000.png", "28 x 30", "32 x 32"],
    ),
    "a PNG cut short": (
        lambda f: f | {"test/cat/0000.png": f["test/cat/0000.png"][:-30]},
        ["test/cat/0000.png", "no readable image"],
    ),
    "a JPEG cut short": (
        lambda f: f | {"test/cat/0001.jpg": f["test/cat/0001.jpg"][:200]},
        ["test/cat/0001.jpg", "no readable image"],
    ),
    "no image": (lambda f: f | {"train/dog/9.jpg": b"<html>"}, ["train/dog/9.jpg", "no readable image"]),
    "an empty image": (lambda f: f | {"train/dog/9.png": b""}, ["train/dog/9.png", "no readable image"]),
    "another format": (lambda f: f | {"train/dog/9.png": encoded(1, "GIF")}, ["train/dog/9.png"]),
    "a JPEG with a huge size in its header": (
        lambda f: f | {"train/dog/9.jpg": patched_jpeg(65_000, 65_000)},
        ["train/dog/9.jpg"],
    ),
    "other names": (
        lambda f: {f"a/{i}.png": c for i, c in enumerate(f.values())},
        ["train/airplane", "tree"],
    ),
    "nothing": (lambda f: {}, ["train/airplane"]),
}


@pytest.mark.parametrize("packed", [False, True], ids=["tree", "archive"])
@pytest.mark.parametrize(("change", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_file(files, tmp_path, change, words, packed):
    changed = change(files)
    (tmp_path / "data").mkdir()
    root = as_tar(tmp_path / "data.tar", changed) if packed else as_tree(tmp_path / "data", changed)
    with pytest.raises(InputError) as caught:
        decode(root)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("kind", ["broken link", "folder"])
def test_a_broken_link_and_a_folder_in_place_of_a_file_are_named(files, tmp_path, kind):
    as_tree(tmp_path, files)
    odd = tmp_path / "train" / "cat" / "9.png"
    odd.symlink_to("nowhere.png") if kind == "broken link" else odd.mkdir()
    with pytest.raises(InputError, match=r"9\.png"):
        decode(tmp_path)


def test_a_file_too_large_for_an_image_is_named(files, tmp_path):
    with pytest.raises(InputError, match=r"train/cat/9\.png.* 2097152 bytes"):
        decode(as_tar(tmp_path / "a.tar", files | {"train/cat/9.png": bytes(2 << 20)}))


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"text " * 1000, b"\x1f\x8b", b"\xfd7zXZ\x00", b"PK\x03\x04" * 300]
)
def test_a_file_that_is_no_archive_is_named(tmp_path, content):
    (tmp_path / "data.tar.xz").write_bytes(content)
    with pytest.raises(InputError, match=r"data\.tar\.xz"):
        decode(tmp_path / "data.tar.xz")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_cut_short_is_refused_or_complete(files, arrays, tmp_path, suffix):
    content = as_tar(tmp_path / "whole", files, mode=SUFFIXES[suffix]).read_bytes()
    cut = tmp_path / f"cut.{suffix}"
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


def test_damaged_archives_give_arrays_or_an_input_error(files, tmp_path):
    generator = random.Random(0)
    for suffix, mode in SUFFIXES.items():
        content = as_tar(tmp_path / "whole", files, mode=mode).read_bytes()
        for _ in range(15):
            damaged = bytearray(content)
            for _ in range(generator.choice([1, 5, 50])):
                damaged[generator.randrange(len(damaged))] ^= generator.randrange(1, 256)
            (tmp_path / f"damaged.{suffix}").write_bytes(damaged)
            try:
                arrays = decode(tmp_path / f"damaged.{suffix}")
            except InputError:
                continue
            assert arrays["train_images"].shape[1:] == arrays["test_images"].shape[1:] == SHAPE
