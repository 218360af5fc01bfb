"""Image files to arrays: as Pillow decodes them, however they are packed, or a message on what is wrong."""

import io
import random
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from robust_tickets.base.errors import InputError
from robust_tickets.data import image_tree
from robust_tickets.data.load import CIFAR10_CLASSES

SHAPE = (3, 32, 32)
PARTS = ("train", "test")
ENDINGS = {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz"}


def encoded(seed, kind, size=(32, 32), mode="RGB"):
    """A smooth picture, so that JPEG keeps it small."""
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR).convert(mode).save(file, kind)
    return file.getvalue()


def contents(kinds=("PNG", "JPEG")):
    """Names and contents of a whole tree, two images a class and part."""
    made = {}
    for i, (part, label) in enumerate((part, label) for part in PARTS for label in CIFAR10_CLASSES):
        for j, kind in enumerate(kinds):
            made[f"{part}/{label}/{j:04}.{'png' if kind == 'PNG' else 'jpg'}"] = encoded(10 * i + j, kind)
    return made


@pytest.fixture(scope="module")
def whole():
    return contents()


def as_tree(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


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


def decode(root, say=lambda line: None):
    return image_tree.decode(root, CIFAR10_CLASSES, SHAPE, say)


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def tree(whole, tmp_path_factory):
    return as_tree(tmp_path_factory.mktemp("tree"), whole)


@pytest.fixture(scope="module")
def arrays(tree):
    return decode(tree)


def test_a_tree_is_decoded_as_pillow_decodes_it_in_order_of_class_and_name(whole, arrays):
    for part in PARTS:
        names = sorted(name for name in whole if name.startswith(part))
        theirs = [np.asarray(Image.open(io.BytesIO(whole[name])).convert("RGB")) for name in names]
        assert arrays[f"{part}_images"].dtype == torch.uint8
        assert np.array_equal(arrays[f"{part}_images"].numpy(), np.stack(theirs).transpose(0, 3, 1, 2))
        assert arrays[f"{part}_labels"].tolist() == [
            CIFAR10_CLASSES.index(name.split("/")[1]) for name in names
        ]
        assert arrays[f"{part}_labels"].dtype == torch.int64


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("prefix", ["", "./", "cifar10/", "./a/b/"])
def test_an_archive_gives_the_same_arrays_as_the_tree(whole, arrays, tmp_path, ending, prefix):
    archive = as_tar(tmp_path / f"data.{ending}", whole, prefix=prefix, mode=ENDINGS[ending])
    assert same(decode(archive), arrays)


def test_the_order_in_the_archive_does_not_matter(whole, arrays, tmp_path):
    names = list(whole)
    random.Random(0).shuffle(names)
    assert same(decode(as_tar(tmp_path / "a.tar", {n: whole[n] for n in names}, folders=False)), arrays)


def test_files_that_are_no_images_are_passed_over(whole, arrays, tmp_path):
    more = {
        "README.md": b"text",
        "train/labels.txt": b"text",
        "train/cat/notes.txt": b"text",
        "docs/logos/1.png": b"",
    }
    assert same(decode(as_tar(tmp_path / "a.tar", whole | more)), arrays)
    assert same(decode(as_tree(tmp_path / "tree", whole | more)), arrays)


@pytest.mark.parametrize(
    ("kinds", "lossy"), [(("PNG",), False), (("JPEG",), True), (("PNG", "JPEG"), True)], ids=str
)
def test_lossy_says_whether_any_file_is_a_jpeg(tmp_path, kinds, lossy):
    assert bool(decode(as_tree(tmp_path, contents(kinds)))["lossy"]) is lossy


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_other_kinds_of_png_become_rgb(whole, tmp_path, mode):
    content = encoded(5, "PNG", mode=mode)
    made = decode(as_tree(tmp_path, whole | {"train/airplane/0000.png": content}))
    theirs = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert np.array_equal(made["train_images"][0].numpy(), theirs.transpose(2, 0, 1))


def test_decoding_says_so_once_as_it_takes_a_while(tree):
    lines = []
    decode(tree, lines.append)
    assert len(lines) == 1
    assert tree.name in lines[0]


def without(files, start):
    return {name: content for name, content in files.items() if not name.startswith(start)}


def patched_jpeg(height, width):
    """A JPEG whose header claims another size."""
    content = encoded(3, "JPEG")
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + content[at + 4 :]


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
    "a JPEG that claims to be huge": (
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
@pytest.mark.parametrize(("spoil", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_said_with_its_place(whole, tmp_path, spoil, words, packed):
    files = spoil(whole)
    (tmp_path / "data").mkdir()
    root = as_tar(tmp_path / "data.tar", files) if packed else as_tree(tmp_path / "data", files)
    with pytest.raises(InputError) as caught:
        decode(root)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("kind", ["broken link", "folder"])
def test_what_looks_like_a_file_of_a_tree_and_cannot_be_read_is_said(whole, tmp_path, kind):
    as_tree(tmp_path, whole)
    odd = tmp_path / "train" / "cat" / "9.png"
    odd.symlink_to("nowhere.png") if kind == "broken link" else odd.mkdir()
    with pytest.raises(InputError, match=r"9\.png"):
        decode(tmp_path)


def test_a_large_file_among_the_images_is_said(whole, tmp_path):
    with pytest.raises(InputError, match=r"train/cat/9\.png.* 2097152 bytes"):
        decode(as_tar(tmp_path / "a.tar", whole | {"train/cat/9.png": bytes(2 << 20)}))


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"text " * 1000, b"\x1f\x8b", b"\xfd7zXZ\x00", b"PK\x03\x04" * 300]
)
def test_what_is_no_archive_is_said(tmp_path, content):
    (tmp_path / "data.tar.xz").write_bytes(content)
    with pytest.raises(InputError, match=r"data\.tar\.xz"):
        decode(tmp_path / "data.tar.xz")


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_archive_cut_short_is_never_taken_for_a_whole_one(whole, arrays, tmp_path, ending):
    content = as_tar(tmp_path / "whole", whole, mode=ENDINGS[ending]).read_bytes()
    cut = tmp_path / f"cut.{ending}"
    chance = random.Random(0)
    refused = 0
    for length in [0, 1, 100, 511, 513, *(chance.randrange(len(content)) for _ in range(20))]:
        cut.write_bytes(content[:length])
        try:
            assert same(decode(cut), arrays), f"{length} of {len(content)} bytes"
        except InputError as error:
            assert str(cut) in str(error)  # noqa: PT017 (either is allowed: padding may be lost)
            refused += 1
    assert refused >= 15


def test_damaged_bytes_give_arrays_or_a_message_and_nothing_else(whole, tmp_path):
    chance = random.Random(0)
    for ending, mode in ENDINGS.items():
        content = as_tar(tmp_path / "whole", whole, mode=mode).read_bytes()
        for _ in range(15):
            damaged = bytearray(content)
            for _ in range(chance.choice([1, 5, 50])):
                damaged[chance.randrange(len(damaged))] ^= chance.randrange(1, 256)
            (tmp_path / f"damaged.{ending}").write_bytes(damaged)
            try:
                made = decode(tmp_path / f"damaged.{ending}")
            except InputError:
                continue
            assert made["train_images"].shape[1:] == made["test_images"].shape[1:] == SHAPE
