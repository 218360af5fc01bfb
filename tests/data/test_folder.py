"""Folders of a person's own images: the same however packed, or a message on what is wrong."""

import io
import os
import random
import stat
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as transforms

from robust_tickets import data
from robust_tickets.data import folder, pixels
from robust_tickets.data.layout import layout
from robust_tickets.errors import InputError
from robust_tickets.settings import Data

CLASSES = ("ant", "bee", "cat")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own, and nothing kept in the process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ROBUST_TICKETS_FOLDER", raising=False)
    folder._read.clear()
    return tmp_path / "cache" / "robust-tickets"


def picture(seed, size=(12, 9), mode="RGB", kind="PNG"):
    """A smooth picture in a file."""
    values = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).resize(size, Image.Resampling.BILINEAR).convert(mode).save(file, kind)
    return file.getvalue()


def contents(parts=("train/", "test/"), each=5, **how):
    """Names and contents of a tree, `each` images a class and part."""
    names = [f"{part}{label}/{i}.png" for part in parts for label in CLASSES for i in range(each)]
    return {name: picture(number, **how) for number, name in enumerate(names)}


def as_tree(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def as_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
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


def load(root, lines=None, **more):
    say = (lambda line: None) if lines is None else lines.append
    return data.load(Data("folder", root=root, **{"val_images": 3, **more}), say)


def same(ours, theirs):
    return (ours.title, ours.spec, ours.fingerprint) == (theirs.title, theirs.spec, theirs.fingerprint)


def whole(dataset):
    """The training images, with those held out, in order of their ids."""
    ids = torch.cat([dataset.train.ids, dataset.val.ids])
    order = ids.argsort()
    return (
        torch.cat([dataset.train.images, dataset.val.images])[order],
        torch.cat([dataset.train.labels, dataset.val.labels])[order],
    )


def test_images_are_as_pillow_decodes_them_in_order_of_class_and_name(tmp_path):
    files = contents()
    dataset = load(as_tree(tmp_path / "tree", files))
    images, labels = whole(dataset)
    for part, ours, numbers in (
        ("train", images, labels),
        ("test", dataset.test.images, dataset.test.labels),
    ):
        names = sorted(name for name in files if name.startswith(part))
        theirs = [np.asarray(Image.open(io.BytesIO(files[name])).convert("RGB")) for name in names]
        assert np.array_equal(ours.numpy(), np.stack(theirs).transpose(0, 3, 1, 2))
        assert numbers.tolist() == [CLASSES.index(name.split("/")[1]) for name in names]


def test_what_is_known_of_a_folder_is_what_its_training_images_are(tmp_path):
    root = as_tree(tmp_path / "tree", contents(each=7))
    dataset = load(root)
    spec = dataset.spec
    assert spec == data.spec_of(Data("folder", root=root, val_images=3))
    assert (spec.title, spec.classes, spec.labels) == ("own images (3 classes)", 3, CLASSES)
    assert (spec.shape, spec.train_images, spec.test_images) == ((3, 9, 12), 21, 21)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (18, 3, 21)
    assert (spec.shift, spec.flip) == (1, False)
    assert load(root, flip=True).spec.flip
    values = whole(dataset)[0].double().transpose(0, 1).flatten(1) / 255
    assert spec.mean == pytest.approx(values.mean(1).tolist(), abs=5.1e-5)
    assert spec.std == pytest.approx(values.std(1, correction=0).tolist(), abs=5.1e-5)


@pytest.mark.parametrize("prefix", ["", "./", "images/"])
@pytest.mark.parametrize("packed", PACKED)
def test_however_it_is_packed_it_is_the_same_data(tmp_path, packed, prefix):
    files = contents()
    expected = load(as_tree(tmp_path / "tree", files))
    names = list(files)
    random.Random(0).shuffle(names)
    root = PACKED[packed](tmp_path / f"packed.{packed}", {prefix + name: files[name] for name in names})
    assert same(load(root), expected)


LAYOUTS = {
    "parts": (["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png"], "ab", "ab", "test", []),
    "enclosed": (["x/train/a/1.png", "x/test/a/1.png"], "a", "a", "test", []),
    "val for test": (["train/a/1.png", "val/a/1.png"], "a", "a", "val", []),
    "valid": (["train/a/1.png", "valid/a/1.png"], "a", "a", "valid", []),
    "validation": (["Train/a/1.png", "Validation/a/1.png"], "a", "a", "Validation", []),
    "test before val": (
        ["train/a/1.png", "val/a/1.png", "test/a/1.png"],
        "a",
        "a",
        "test",
        ["val/a/1.png"],
    ),
    "train alone": (["train/a/1.png", "train/b/1.png"], "ab", "", "", []),
    "a test part without classes": (
        ["train/a/1.png", "train/b/1.png", "test/1.png"],
        "ab",
        "",
        "",
        ["test/1.png"],
    ),
    "classes": (["a/1.png", "b/1.png"], "ab", "", "", []),
    "classes enclosed": (["x/a/1.png", "x/b/1.png", "x/logo.png"], "ab", "", "", ["x/logo.png"]),
    "classes called train and test": (["train/1.png", "test/1.png"], ["test", "train"], "", "", []),
    "one class": (["a/1.png", "a/2.png"], "a", "", "", []),
    "deeper": (["a/1.png", "b/1.png", "b/c/2.png", "3.png"], "ab", "", "", ["3.png", "b/c/2.png"]),
    "no folders": (["1.png"], "", "", "", ["1.png"]),
    "nothing": ([], "", "", "", []),
}


@pytest.mark.parametrize(("names", "train", "test", "part", "others"), LAYOUTS.values(), ids=LAYOUTS)
def test_part_and_class_are_told_by_the_paths(names, train, test, part, others):
    for order in (names, names[::-1]):
        found = layout(order)
        assert list(found.train) == list(train)
        assert list(found.test) == list(test)
        assert (found.test_part, found.others) == (part, others)


@pytest.mark.parametrize("sizes", [(10, 10, 10), (2, 40, 7), (2, 2, 2)], ids=str)
def test_without_a_test_part_a_constant_fifth_of_each_class_is_held_out_and_said(tmp_path, sizes):
    files = {
        f"{label}/{i}.png": picture(100 * n + i, (8, 8))
        for n, (label, count) in enumerate(zip(CLASSES, sizes, strict=True))
        for i in range(count)
    }
    lines = []
    dataset = load(as_tree(tmp_path / "tree", files), lines, val_images=1, train_images=1)
    held = [max(n // 5, 1) for n in sizes]
    assert torch.bincount(dataset.test.labels).tolist() == held
    assert dataset.spec.train_images == sum(sizes) - sum(held)
    assert any(f"fifth of each class, {sum(held)} images" in line for line in lines)
    assert same(load(as_tar(tmp_path / "a.tar", files), val_images=1, train_images=1), dataset)
    decoded = folder.decode(tmp_path / "tree", 0, lines.append)
    together = torch.cat([decoded["train_images"], decoded["test_images"]])
    assert len({image.numpy().tobytes() for image in together}) == sum(sizes)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P grey"])
def test_images_are_grey_where_all_are_and_rgb_where_one_is_not(tmp_path, mode):
    grey = picture(5, mode=mode) if mode != "P grey" else picture(5, mode="L", kind="GIF")
    files = contents(mode="L") | {"train/ant/0.png": grey}
    images, _ = whole(load(as_tree(tmp_path / "grey", files)))
    assert images.shape[1:] == (1, 9, 12)
    assert np.array_equal(images[0, 0], np.asarray(Image.open(io.BytesIO(grey)).convert("L")))
    coloured, _ = whole(load(as_tree(tmp_path / "rgb", files | {"test/cat/1.png": picture(6)})))
    assert torch.equal(coloured, images.expand(-1, 3, -1, -1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM"])
@pytest.mark.filterwarnings("error")
def test_every_format_is_read_as_pillow_reads_it(tmp_path, kind):
    ending = {"JPEG": "JPG", "TIFF": "tif"}.get(kind, kind.lower())
    content = picture(3, kind=kind)
    files = without(contents(), "train/ant/0.png") | {f"train/ant/0.{ending}": content}
    images, _ = whole(load(as_tree(tmp_path / "tree", files)))
    theirs = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(images[0].numpy(), theirs)


# sizes whose long side, scaled, leaves a whole margin on both sides, as torchvision rounds it
@pytest.mark.parametrize("size", [(12, 12), (30, 20), (20, 30), (8, 8), (6, 24)], ids=str)
def test_resize_scales_the_short_side_and_crops_the_centre_as_torchvision(tmp_path, size):
    files = contents(size=size)
    dataset = load(as_tree(tmp_path / "tree", files), resize=8)
    assert dataset.spec.shape == (3, 8, 8)
    names = sorted(name for name in files if name.startswith("train"))
    for name, image in zip(names, whole(dataset)[0], strict=True):
        scaled = transforms.resize(Image.open(io.BytesIO(files[name])), 8)
        theirs = np.asarray(transforms.center_crop(scaled, [8, 8])).transpose(2, 0, 1)
        assert np.abs(image.numpy().astype(int) - theirs).max() <= 1


def test_images_of_any_sizes_are_resized_about_their_exact_centre(tmp_path):
    odd = picture(77, (17, 40))
    dataset = load(as_tree(tmp_path / "tree", contents() | {"train/ant/0.png": odd}), resize=8)
    theirs = Image.open(io.BytesIO(odd)).resize((8, 8), Image.Resampling.BILINEAR, (0, 11.5, 17, 28.5))
    assert np.array_equal(whole(dataset)[0][0].numpy(), np.asarray(theirs).transpose(2, 0, 1))


def test_a_folder_is_decoded_once_a_size_and_anew_where_it_changed(tmp_path, monkeypatch, cache):
    root = as_tree(tmp_path / "tree", contents())
    first, small = load(root), load(root, resize=4)
    assert first.spec.shape != small.spec.shape
    assert len(list(cache.iterdir())) == 2
    with monkeypatch.context() as patch:
        patch.setattr(folder, "decode", None)
        folder._read.clear()
        assert same(load(root), first)
        patch.setattr("robust_tickets.data.cache.cached", None)
        assert same(load(root), first)  # of this process
    for change in (
        lambda: (root / "train/ant/0.png").write_bytes(picture(99)),
        lambda: (root / "train/ant/9.png").write_bytes(picture(98)),
        lambda: (root / "test/bee/0.png").unlink(),
    ):
        change()
        os.utime(root / "train/ant/0.png", ns=(1, 1))
        changed = load(root)
        assert changed.fingerprint != first.fingerprint
        first = changed


def test_what_is_left_out_is_said_and_hidden_files_are_not(tmp_path):
    files = contents()
    lines = []
    expected = load(as_tree(tmp_path / "plain", files), lines)
    assert not [line for line in lines if "left out" in line]
    more = {"train/ant/notes.txt": b"text", "train/cat/a.csv": b"", "README.md": b"", "logo.png": b"none"}
    hidden = {
        "train/ant/.DS_Store": b"",
        "test/Thumbs.db": b"",
        "__MACOSX/train/ant/._0.png": b"",
        ".git/x/1.png": b"",
    }
    for packed in PACKED:
        lines = []
        assert same(load(PACKED[packed](tmp_path / f"more.{packed}", files | more | hidden), lines), expected)
        folder._read.clear()
        if packed == "tree":
            left = [line for line in lines if "left out" in line]
            assert left == [
                "left out: 2 files that are no images, such as train/ant/notes.txt",
                "left out: 1 image that lies in no class folder, such as logo.png",
            ]


def without(files, start):
    return {name: content for name, content in files.items() if not name.startswith(start)}


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
    "one class in both parts": (
        lambda f: {f"{part}/ant/1.png": picture(1) for part in ("train", "test")},
        ["one class, 'ant'"],
    ),
    "a class not tested": (lambda f: without(f, "test/bee"), ["no test images of the class 'bee'"]),
    "a class not trained": (lambda f: without(f, "train/bee"), ["no training images of the class 'bee'"]),
    "a class of one": (
        lambda f: {"ant/1.png": picture(1), "bee/1.png": picture(2), "bee/2.png": picture(3)},
        ["'ant' has one image", "at least two"],
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
    "an empty file": (lambda f: f | {"test/cat/1.png": b""}, ["test/cat/1.png is no readable image"]),
    "16 bits": (lambda f: f | {"test/cat/1.png": deep("PNG", "I;16")}, ["test/cat/1.png", "8 bits"]),
    "floats": (lambda f: f | {"test/cat/1.tif": deep("TIFF", "F")}, ["test/cat/1.tif", "8 bits", "mode F"]),
    "too many pixels": (lambda f: f | {"test/cat/1.bmp": huge()}, ["test/cat/1.bmp is no readable image"]),
}


@pytest.mark.parametrize("packed", ["tree", "tar", "zip"])
@pytest.mark.parametrize(("spoil", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_said_with_its_place(tmp_path, cache, spoil, words, packed):
    root = PACKED[packed](tmp_path / f"data.{packed}", spoil(contents()))
    with pytest.raises(InputError) as caught:
        load(root)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert not cache.exists() or not list(cache.iterdir())


def test_too_many_pixels_for_the_memory_are_refused_before_decoding(tmp_path, monkeypatch):
    root = as_tree(tmp_path / "tree", contents())
    size = 30 * 3 * 9 * 12
    monkeypatch.setattr(folder, "LARGEST", size)
    load(root)
    folder._read.clear()
    monkeypatch.setattr(folder, "LARGEST", size - 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    monkeypatch.setattr(pixels, "fill", None)
    with pytest.raises(InputError, match=r"30 images .* GiB decoded.*--data\.resize 2"):
        load(root)


@pytest.mark.parametrize("packed", ["tree", "tar", "zip"])
def test_a_file_too_large_for_an_image_is_refused(tmp_path, packed):
    root = PACKED[packed](tmp_path / f"data.{packed}", contents() | {"test/cat/9.png": bytes((64 << 20) + 1)})
    with pytest.raises(InputError, match=r"test/cat/9\.png.* 67108865 bytes.*64 MiB"):
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
    "out of a tar": (tar_with, "test/../9.png", tarfile.REGTYPE, None),
    "out of the class": (tar_with, "test/cat/../9.png", tarfile.REGTYPE, None),
    "part of a path": (tar_with, "../ant/9.png", tarfile.REGTYPE, None),
}


@pytest.mark.parametrize(("make", "name", "how", "word"), ODD_MEMBERS.values(), ids=ODD_MEMBERS)
def test_links_are_refused_and_paths_that_lead_out_are_never_read(tmp_path, make, name, how, word):
    expected = load(as_tree(tmp_path / "tree", contents()))
    make(tmp_path / "a", name, how)
    try:
        made = load(tmp_path / "a")
    except InputError as error:
        assert (word or "leads out of the archive") in str(error)  # noqa: PT017
        assert name in str(error)  # noqa: PT017
    else:
        assert word is None
        assert same(made, expected)


def test_an_encrypted_zip_is_said(tmp_path):
    content = bytearray(as_zip(tmp_path / "a.zip", contents()).read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := content.find(mark, start + 1)) >= 0:
            content[start + at] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"encrypted: .*without a password"):
        load(tmp_path / "a.zip")


def test_damaged_bytes_give_data_or_a_message_and_nothing_else(tmp_path):
    chance = random.Random(0)
    files = contents(each=2, kind="TIFF") | contents(parts=("x/",), each=1)
    for packed in ("tar", "tar.bz2", "zip"):
        whole_file = PACKED[packed](tmp_path / "whole", files).read_bytes()
        for _ in range(25):
            damaged = bytearray(whole_file)
            for _ in range(chance.choice([1, 5, 50])):
                damaged[chance.randrange(len(damaged))] ^= chance.randrange(1, 256)
            cut = len(damaged) if chance.random() < 0.7 else chance.randrange(len(damaged))
            (tmp_path / "damaged").write_bytes(damaged[:cut])
            try:
                load(tmp_path / "damaged")
            except InputError:
                continue


def test_links_in_a_tree_are_followed_and_broken_ones_said(tmp_path):
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


def test_validation_that_takes_a_whole_class_is_refused(tmp_path):
    files = contents(each=8) | {f"train/dog/{i}.png": picture(i) for i in range(2)}
    root = as_tree(tmp_path / "tree", files | {"test/dog/1.png": picture(1)})
    assert set(load(root, val_images=4).train.labels.tolist()) == {0, 1, 2, 3}
    with pytest.raises(InputError, match=r"data\.val_images 9 no image of the class 'dog'"):
        load(root, val_images=9)


PLACES = {
    "no place": (Data("folder"), ["--data.root", "ROBUST_TICKETS_FOLDER"]),
    "absent": (Data("folder", root="{here}/away"), ["no {here}/away", "--data.root"]),
    "a download": (Data("folder", download=True), ["cannot be downloaded"]),
    "own": (Data("own"), ["handed over in Python", "from_tensors"]),
    "own with a place": (Data("own", root="{here}"), ["handed over in Python", "--data.root"]),
    "digits with a place": (Data("digits", root="{here}"), ["embedded", "--data.root"]),
    "digits downloaded": (Data("digits", download=True), ["embedded", "--data.download"]),
}


@pytest.mark.parametrize(("which", "words"), PLACES.values(), ids=PLACES)
def test_a_place_that_cannot_be_is_said(tmp_path, which, words):
    if which.root:
        root = type(tmp_path)(str(which.root).format(here=tmp_path))
        which = Data(which.name, root=root)
    asks = (data.load,) if which == Data("own") else (data.load, data.check_place)
    for ask in asks:
        with pytest.raises(InputError) as caught:
            ask(which)
        assert all(word.format(here=tmp_path) in str(caught.value) for word in words), str(caught.value)
        assert which.name != "folder" or which.download or "--data.download" not in str(caught.value)


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    root = as_tree(tmp_path / "tree", contents())
    monkeypatch.setenv("ROBUST_TICKETS_FOLDER", str(root))
    assert same(load(None), load(root))
