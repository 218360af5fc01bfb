"""Folders as people have them: a test part alone, empty classes, look-alike names, numbers; `data show`."""

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from image_folders import CLASSES, PACKED, as_tree, assert_decoded, contents, load, picture, same, without
from PIL import Image

from robust_tickets.base.errors import InputError
from robust_tickets.cli.parse import parse
from robust_tickets.data.class_names import describe_numbers, match_names
from robust_tickets.data.dataset import count_training_images
from robust_tickets.recipe.fields import Data

pytestmark = pytest.mark.usefixtures("cache")

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.mark.parametrize("packed", ["tree", "tar", "zip"])
@pytest.mark.parametrize("part", ["test", "val"])
@pytest.mark.parametrize("prefix", ["", "enclosing/"])
def test_a_test_part_alone_is_evaluated_whole(packed, part, prefix, tmp_path):
    files = contents(parts=(f"{prefix}{part}/",))
    lines = []
    dataset = load(PACKED[packed](tmp_path / f"a.{packed}", files), lines)
    inner = {name.removeprefix(prefix): content for name, content in files.items()}
    assert_decoded(dataset.test.images, dataset.test.labels, inner, part, CLASSES)
    assert len(dataset.train) == len(dataset.val) == 0
    assert f"there is a folder {part} alone: all its images are for testing, none for training" in lines
    with pytest.raises(InputError, match="test images alone, and training needs others"):
        count_training_images(Data("folder", val_images=3), dataset.spec)
    with pytest.raises(InputError, match="this split has no images"):
        dataset.val.first(0)


@pytest.mark.parametrize("packed", ["", "tar", "gztar", "bztar", "xztar", "zip"])
def test_class_folders_without_images_are_said_at_every_load(packed, tmp_path):
    files = contents() | {"train/ant/notes.txt": b"x", "extra/deep/1.png": picture(1)}
    root = as_tree(tmp_path / "tree", files)
    for folder in ("train/dog", "test/dog", "train/.hidden"):
        (root / folder).mkdir()
    if packed:
        root = Path(shutil.make_archive(str(tmp_path / "a"), packed, root))
    for _ in range(2):  # the second time from the cache
        lines = []
        load(root, lines)
        assert "left out: 2 folders without images, which are no classes, such as test/dog" in lines
        assert "left out: 1 file that is no image, such as train/ant/notes.txt" in lines
        assert "left out: 1 image in no class folder, such as extra/deep/1.png" in lines


def test_a_class_folder_that_cannot_be_read_is_an_error_and_no_empty_class(tmp_path, monkeypatch):
    """Its class would be missing, and all labels after it others."""
    root = as_tree(tmp_path / "tree", contents())
    for folder in ("train/bat", "test/bat", "lost+found"):
        (root / folder).mkdir()
    access = os.access
    closed = lambda path, mode: Path(path).name not in ("bat", "lost+found") and access(path, mode)  # noqa: E731
    monkeypatch.setattr(os, "access", closed)
    with pytest.raises(InputError, match=r"cannot read the folder .*bat, which may be a class"):
        load(root)
    for folder in ("train/bat", "test/bat"):
        (root / folder).rmdir()
    load(root)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    root = as_tree(tmp_path / "tree", contents())
    os.mkfifo(root / "train" / "ant" / "pipe.png")
    os.mkfifo(tmp_path / "pipe.tar")
    for path in (root, tmp_path / "pipe.tar"):
        with pytest.raises(InputError, match=r"pipe\.\w+ is a pipe, a socket or a device and no file"):
            load(path)


def test_one_name_in_two_code_points_is_one_class(tmp_path):
    files = contents(classes=("ant", NFC, "zoo"))
    expected = load(as_tree(tmp_path / "same", files))
    moved = {name.replace(NFC, NFD) if name.startswith("test") else name: x for name, x in files.items()}
    lines = []
    dataset = load(as_tree(tmp_path / "moved", moved), lines)
    assert same(dataset, expected)
    assert dataset.spec.labels == ("ant", NFC, "zoo")
    assert f"the class {NFC!r} of the training images is written in other code points" in " ".join(lines)


def test_names_that_differ_in_case_are_one_class_where_there_is_no_doubt():
    lines = []
    train, test = match_names({"Cat": ["1"], "dog": ["2"]}, {"cat": ["3"], "dog": ["4"]}, lines.append)
    assert (train, test) == ({"Cat": ["1"], "dog": ["2"]}, {"Cat": ["3"], "dog": ["4"]})
    assert lines == ["the class 'Cat' of the training images is written 'cat' in the test images' folder"]
    part = {"Cat": ["1"], "cat": ["2"]}
    lines.clear()
    assert match_names(part, part, lines.append) == (part, part)
    assert lines[0].startswith("classes whose names look alike: 'Cat' and 'cat'")
    assert match_names({"a": ["1"]}, {"b": ["2"]}, lines.append) == ({"a": ["1"]}, {"b": ["2"]})


def test_two_folders_of_one_name_in_one_part_are_merged():
    lines = []
    train, _ = match_names({NFD: ["1"], NFC: ["2"]}, {}, lines.append)
    assert train == {NFD: ["1", "2"]}
    assert "two folders are called" in lines[0]


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["1", "10", "2"], "label 0 is '1', label 1 is '10', label 2 is '2'"),
        (["01", "02", "03", "04", "05"], "label 3 is '04', ..."),
        (["0", "1", "2"], ""),
        (["a", "b"], ""),
        (["1", "b"], ""),
    ],
)
def test_numbered_classes_whose_labels_are_others_are_said(classes, words):
    assert describe_numbers(classes).endswith(words)
    assert bool(describe_numbers(classes)) == bool(words)


@pytest.mark.parametrize("suffix", ["jfif", "JFIF", "jpe"])
def test_other_names_of_jpeg_are_images(suffix, tmp_path):
    files = without(contents(), "train/ant/0.png") | {f"train/ant/0.{suffix}": picture(0, kind="JPEG")}
    dataset = load(as_tree(tmp_path / "tree", files))
    assert torch.bincount(torch.cat([dataset.train.labels, dataset.val.labels])).tolist() == [5, 5, 5]


@pytest.mark.parametrize("parts", [("train/", "test/"), ("test/",)])
def test_data_show_prints_parts_and_labels_and_draws_the_images(parts, tmp_path, capsys):
    root = as_tree(tmp_path / "tree", contents(parts=parts))
    words = f"--data.name folder --data.root {root} --out {tmp_path / 'sheet.png'}"
    parse("data show", words.split()).run()
    text = capsys.readouterr().out
    train = (14, 1) if "train/" in parts else (0, 0)  # fewer than trainings hold out unless told
    assert f"images: {train[0]} train, {train[1]} val, 15 test" in text
    assert "each: 12 x 9 pixels, RGB, 8 bits a channel" in text
    assert text.split("label  class", 1)[1].split("\n")[2].split() == [
        "1",
        "bee",
        *(("4", "1") if "train/" in parts else ("0", "0")),
        "5",
    ]
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    scale = 6  # to 48 pixels at least
    assert sheet.shape == (3 * (9 * scale + 2) + 2, 8 * (12 * scale + 2) + 2, 3)
    pairs = sheet[2 : 2 + 9 * scale : scale, 2 : 2 + 12 * scale : scale]
    first = np.asarray(Image.open(root / parts[0] / "ant" / "0.png"))
    candidates = [np.asarray(Image.open(root / parts[0] / "ant" / f"{i}.png")) for i in range(5)]
    assert any(np.array_equal(pairs, image) for image in candidates)
    if parts == ("test/",):
        assert np.array_equal(pairs, first)
