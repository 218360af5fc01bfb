"""The user's own images in folders and archives give the same data."""

import io
import os
import random

import numpy as np
import pytest
import torch
from image_folders import (
    CLASSES,
    PACKED,
    all_training_images,
    as_tar,
    as_tree,
    assert_decoded,
    by_pillow,
    contents,
    load,
    picture,
    same,
    without,
)
from PIL import Image
from torchvision.transforms import functional as transforms

from robust_tickets.data import folder as folders
from robust_tickets.data.class_folders import find_class_folders

pytestmark = pytest.mark.usefixtures("cache")


def test_images_equal_pillow_s_in_order_of_class_and_name(tmp_path):
    files = contents()
    dataset = load(as_tree(tmp_path / "tree", files))
    assert_decoded(*all_training_images(dataset), files, "train", CLASSES)
    assert_decoded(dataset.test.images, dataset.test.labels, files, "test", CLASSES)


def test_the_spec_has_sizes_and_labels(tmp_path):
    root = as_tree(tmp_path / "tree", contents(each=7))
    dataset = load(root)
    spec = dataset.spec
    assert (spec.title, spec.classes, spec.labels) == ("own images (3 classes)", 3, CLASSES)
    assert (spec.shape, spec.train_images, spec.test_images) == ((3, 9, 12), 21, 21)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (18, 3, 21)
    assert not spec.flip
    assert load(root, flip=True).spec.flip


@pytest.mark.parametrize("prefix", ["", "./", "images/"])
@pytest.mark.parametrize("packed", PACKED)
def test_every_archive_gives_the_data_of_the_tree(tmp_path, packed, prefix):
    files = contents()
    expected = load(as_tree(tmp_path / "tree", files))
    names = list(files)
    random.Random(0).shuffle(names)
    root = PACKED[packed](tmp_path / f"packed.{packed}", {prefix + name: files[name] for name in names})
    assert same(load(root), expected)


LAYOUTS = {  # files; classes of train and of test, the name of the test part, files of no class
    "parts": ("train/a/1 train/b/1 test/a/1 test/b/1", "a b", "a b", "test", ""),
    "enclosed": ("x/train/a/1 x/test/a/1", "a", "a", "test", ""),
    "val for test": ("train/a/1 val/a/1", "a", "a", "val", ""),
    "validation": ("Train/a/1 Validation/a/1", "a", "a", "Validation", ""),
    "test before val": ("train/a/1 val/a/1 test/a/1", "a", "a", "test", "val/a/1"),
    "train alone": ("train/a/1 train/b/1", "a b", "", "", ""),
    "a test part without classes": ("train/a/1 train/b/1 test/1", "a b", "", "", "test/1"),
    "classes": ("a/1 b/1", "a b", "", "", ""),
    "classes enclosed": ("x/a/1 x/b/1 x/logo", "a b", "", "", "x/logo"),
    "classes called train and test": ("train/1 test/1", "test train", "", "", ""),
    "one class": ("a/1 a/2", "a", "", "", ""),
    "deeper": ("a/1 b/1 b/c/2 3", "a b", "", "", "3 b/c/2"),
    "no folders": ("1", "", "", "", "1"),
    "nothing": ("", "", "", "", ""),
}


@pytest.mark.parametrize(("names", "train", "test", "part", "others"), LAYOUTS.values(), ids=LAYOUTS)
def test_part_and_class_come_from_the_path(names, train, test, part, others):
    for order in (names.split(), names.split()[::-1]):
        folders_ = find_class_folders(order)
        assert list(folders_.train) == train.split()
        assert list(folders_.test) == test.split()
        assert (folders_.test_part, folders_.others) == (part, others.split())


@pytest.mark.parametrize("sizes", [(10, 10, 10), (2, 40, 7), (2, 2, 2)], ids=str)
def test_without_a_test_part_a_constant_fifth_of_each_class_is_held_out(tmp_path, sizes):
    files = {
        f"{label}/{i}.png": picture(100 * n + i, (8, 8))
        for n, (label, count) in enumerate(zip(CLASSES, sizes, strict=True))
        for i in range(count)
    }
    lines = []
    dataset = load(as_tree(tmp_path / "tree", files), lines, val_images=1, train_images=1)
    fifths = [max(n // 5, 1) for n in sizes]
    assert torch.bincount(dataset.test.labels).tolist() == fifths
    assert dataset.spec.train_images == sum(sizes) - sum(fifths)
    assert any(f"fifth of each class, {sum(fifths)} images" in line for line in lines)
    assert same(load(as_tar(tmp_path / "a.tar", files), val_images=1, train_images=1), dataset)
    arrays = folders.decode(tmp_path / "tree", 0, lines.append)
    images = torch.cat([arrays["train_images"], arrays["test_images"]])
    assert len({image.numpy().tobytes() for image in images}) == sum(sizes)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P grey"])
def test_images_are_grey_if_all_files_are_and_rgb_otherwise(tmp_path, mode):
    grey = picture(5, mode=mode) if mode != "P grey" else picture(5, mode="L", kind="GIF")
    files = contents(mode="L") | {"train/ant/0.png": grey}
    images, _ = all_training_images(load(as_tree(tmp_path / "grey", files)))
    assert images.shape[1:] == (1, 9, 12)
    assert np.array_equal(images[0], by_pillow(grey, "L"))
    colour, _ = all_training_images(load(as_tree(tmp_path / "rgb", files | {"test/cat/1.png": picture(6)})))
    assert torch.equal(colour, images.expand(-1, 3, -1, -1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM"])
@pytest.mark.filterwarnings("error")
def test_every_format_equals_pillow_s(tmp_path, kind):
    ending = {"JPEG": "JPG", "TIFF": "tif"}.get(kind, kind.lower())
    content = picture(3, kind=kind)
    files = without(contents(), "train/ant/0.png") | {f"train/ant/0.{ending}": content}
    images, _ = all_training_images(load(as_tree(tmp_path / "tree", files)))
    assert np.array_equal(images[0], by_pillow(content))


# sizes whose scaled long side has a whole number of pixels too many on both sides, as torchvision rounds
@pytest.mark.parametrize("size", [(12, 12), (30, 20), (20, 30), (8, 8), (6, 24)], ids=str)
def test_resize_scales_and_crops_as_torchvision_does(tmp_path, size):
    files = contents(size=size)
    dataset = load(as_tree(tmp_path / "tree", files), resize=8)
    assert dataset.spec.shape == (3, 8, 8)
    names = sorted(name for name in files if name.startswith("train"))
    for name, image in zip(names, all_training_images(dataset)[0], strict=True):
        scaled = transforms.resize(Image.open(io.BytesIO(files[name])), 8)
        theirs = np.asarray(transforms.center_crop(scaled, [8, 8])).transpose(2, 0, 1)
        assert np.abs(image.numpy().astype(int) - theirs).max() <= 1


def test_the_crop_is_exactly_in_the_centre(tmp_path):
    odd = picture(77, (17, 40))
    dataset = load(as_tree(tmp_path / "tree", contents() | {"train/ant/0.png": odd}), resize=8)
    theirs = Image.open(io.BytesIO(odd)).resize((8, 8), Image.Resampling.BILINEAR, (0, 11.5, 17, 28.5))
    assert np.array_equal(all_training_images(dataset)[0][0].numpy(), np.asarray(theirs).transpose(2, 0, 1))


def test_a_folder_is_decoded_once_a_size_and_again_if_it_changes(tmp_path, monkeypatch, cache):
    root = as_tree(tmp_path / "tree", contents())
    first, small = load(root), load(root, resize=4)
    assert first.spec.shape != small.spec.shape
    assert len(list(cache.iterdir())) == 2
    with monkeypatch.context() as patch:
        patch.setattr("robust_tickets.data.folder.decode", None)
        assert same(load(root), first)
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


def test_files_left_out_are_logged_but_for_hidden_ones(tmp_path):
    files, lines = contents(), []
    expected = load(as_tree(tmp_path / "plain", files), lines)
    assert not [line for line in lines if "left out" in line]
    more = {"train/ant/notes.txt": b"text", "train/cat/a.csv": b"", "README.md": b"", "logo.png": b"none"}
    hidden = ["train/ant/.DS_Store", "test/Thumbs.db", "__MACOSX/train/ant/._0.png", ".git/x/1.png"]
    more |= files | dict.fromkeys(hidden, b"")
    for packed in PACKED:
        lines = []
        assert same(load(PACKED[packed](tmp_path / f"more.{packed}", more), lines), expected)
    assert [line for line in lines if "left out" in line] == [
        "left out: 2 files that are no images, such as train/ant/notes.txt",
        "left out: 1 image in no class folder, such as logo.png",
    ]


def test_transparency_that_is_left_out_is_said_on_every_load(tmp_path):
    files = contents(classes=("ant", "bee"), each=2)
    root, lines = as_tree(tmp_path / "opaque", files), []
    load(root, lines)
    assert not [line for line in lines if "alpha" in line]
    clear = Image.new("RGBA", (12, 9), (7, 8, 9, 0))
    clear.save(root / "train/ant/0.png")
    grey = io.BytesIO()
    Image.new("P", (12, 9)).save(grey, "PNG", transparency=0)
    (root / "train/bee/1.png").write_bytes(grey.getvalue())
    for _ in range(2):
        lines = []
        images, _ = all_training_images(load(root, lines))
        (line,) = [line for line in lines if "alpha" in line]
        assert line.startswith("2 of 8 images have an alpha channel, such as train/ant/0.png: it is left out")
    assert images[0, :, 0, 0].tolist() == [7, 8, 9]
