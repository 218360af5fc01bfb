"""CIFAR-10 from image files: decoded once, and again if the cache is damaged or the source changed."""

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from image_folders import as_tar, as_tree
from PIL import Image

from robust_tickets.base.errors import InputError
from robust_tickets.data import load
from robust_tickets.data.dataset import SPECS, count_training_images
from robust_tickets.data.load import CIFAR10_CLASSES
from robust_tickets.recipe.fields import Data

pytestmark = pytest.mark.usefixtures("cache")


def files(seed=0, kind="PNG"):
    """Two images a class for training, one for testing."""
    generator = np.random.default_rng(seed)
    contents = {}
    for name in CIFAR10_CLASSES:
        for path in ("test/{}/0", "train/{}/0", "train/{}/1"):
            file = io.BytesIO()
            Image.fromarray(generator.integers(0, 256, (32, 32, 3), np.uint8)).save(file, kind)
            contents[f"{path.format(name)}.{kind.lower()}"] = file.getvalue()
    return contents


@pytest.fixture
def small(monkeypatch):
    """CIFAR-10 as if it had twenty training images and ten test images."""
    monkeypatch.setitem(SPECS, "cifar10", replace(SPECS["cifar10"], train_images=20, test_images=10))


def small_data(root):
    return Data("cifar10", root=root, val_images=5)


def no_decoding(monkeypatch):
    def decode(*arguments):
        raise AssertionError("decoded again")

    monkeypatch.setattr("robust_tickets.data.image_tree.decode", decode)


def same(ours, theirs):
    return (ours.title, ours.fingerprint) == (theirs.title, theirs.fingerprint) and all(
        torch.equal(getattr(getattr(ours, part), field), getattr(getattr(theirs, part), field))
        for part in ("train", "val", "test")
        for field in ("images", "labels", "ids")
    )


@pytest.mark.parametrize("packed", [False, True], ids=["tree", "archive"])
def test_the_second_load_reads_the_cache(tmp_path, monkeypatch, small, cache, packed):
    root = as_tar(tmp_path / "a.tar", files()) if packed else as_tree(tmp_path / "tree", files())
    first = load.load(small_data(root))
    assert (len(first.train), len(first.val), len(first.test)) == (15, 5, 10)
    assert len({i for part in (first.train, first.val, first.test) for i in part.ids.tolist()}) == 30
    no_decoding(monkeypatch)
    assert same(load.load(small_data(root)), first)
    assert len(list(cache.iterdir())) == 1


def test_tree_and_archive_give_the_same_data(tmp_path, small):
    tree, archive = as_tree(tmp_path / "tree", files()), as_tar(tmp_path / "a.tar", files())
    assert same(load.load(small_data(tree)), load.load(small_data(archive)))


@pytest.mark.parametrize(("kind", "title"), [("PNG", "CIFAR-10"), ("JPEG", "CIFAR-10 (JPEG copy)")])
def test_a_jpeg_copy_has_its_title_from_the_cache_too(tmp_path, small, kind, title):
    root = as_tree(tmp_path / "tree", files(kind=kind))
    assert [load.load(small_data(root)).title for _ in range(2)] == [title, title]


def test_the_cache_depends_on_an_archive_s_content_and_not_on_its_path(tmp_path, monkeypatch, small, cache):
    first = load.load(small_data(as_tar(tmp_path / "a.tar", files(0))))
    second = load.load(small_data(as_tar(tmp_path / "a.tar", files(1))))
    assert first.fingerprint != second.fingerprint
    assert len(list(cache.iterdir())) == 2
    no_decoding(monkeypatch)
    assert same(load.load(small_data(as_tar(tmp_path / "elsewhere.tar", files(0)))), first)


@pytest.mark.parametrize("change", ["another file", "one more file"])
def test_a_changed_tree_is_decoded_again(tmp_path, monkeypatch, small, change):
    tree = as_tree(tmp_path / "tree", files())
    first = load.load(small_data(tree))
    changed = tree / "train" / "cat" / "0.png"
    if change == "another file":
        changed.write_bytes(files(1)["train/cat/0.png"])
        os.utime(changed, ns=(1, 1))
    else:
        monkeypatch.setitem(SPECS, "cifar10", replace(SPECS["cifar10"], train_images=21))
        (tree / "train" / "cat" / "2.png").write_bytes(changed.read_bytes())
    assert load.load(small_data(tree)).fingerprint != first.fingerprint


DAMAGE = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "text": lambda content: b"no tensors",
    "header": lambda content: content[:20] + b"\xff" + content[21:],
    "a pixel": lambda content: content[:-1000] + bytes([content[-1000] ^ 1]) + content[-999:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_cache_is_replaced(tmp_path, monkeypatch, small, cache, damage):
    root = as_tar(tmp_path / "a.tar", files())
    first = load.load(small_data(root))
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert same(load.load(small_data(root)), first)
    assert file.read_bytes() == whole
    no_decoding(monkeypatch)
    assert same(load.load(small_data(root)), first)


def test_a_failed_decoding_leaves_no_cache(tmp_path, small, cache):
    root = as_tar(tmp_path / "a.tar", files() | {"train/cat/9.png": b"no image"})
    for _ in range(2):
        with pytest.raises(InputError, match=r"train/cat/9\.png"):
            load.load(small_data(root))
    assert not cache.exists() or not list(cache.iterdir())


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch, small):
    root = as_tar(tmp_path / "a.tar", files())
    first = load.load(small_data(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(root))  # a file, where a folder should be
    assert same(load.load(small_data(root)), first)


@pytest.mark.parametrize(("train", "val"), [(0, 5), (0, 500), (1000, 5), (10, 500)])
def test_fewer_images_than_cifar10_has_are_refused(tmp_path, train, val):
    data = Data("cifar10", root=as_tar(tmp_path / "a.tar", files()), train_images=train, val_images=val)
    try:
        dataset = load.load(data)
    except InputError as error:
        assert "20" in str(error)  # noqa: PT017 (either is allowed)
    else:
        assert (len(dataset.train), len(dataset.val)) == (count_training_images(data, SPECS["cifar10"]), val)


def test_an_archive_cut_between_two_images_is_refused(tmp_path, small):
    archive = as_tar(tmp_path / "a.tar", files())
    with tarfile.open(archive) as whole:
        last = whole.getmembers()[-1]  # the second image of its class, so that no class is missing
    archive.write_bytes(archive.read_bytes()[: last.offset])
    with pytest.raises(InputError):
        load.load(small_data(archive))


def test_the_path_comes_from_the_environment_unless_the_recipe_has_one(tmp_path, monkeypatch, small):
    monkeypatch.setenv("ROBUST_TICKETS_CIFAR10", str(as_tar(tmp_path / "a.tar", files(0))))
    by_environment = load.load(small_data(None))
    assert same(by_environment, load.load(small_data(tmp_path / "a.tar")))
    other = load.load(small_data(as_tar(tmp_path / "b.tar", files(1))))
    assert other.fingerprint != by_environment.fingerprint


HINTS = ("--data.root", "ROBUST_TICKETS_CIFAR10", "--data.download")


@pytest.mark.parametrize("root", [None, "nowhere.tar", "empty"])
def test_a_missing_set_gets_hints(tmp_path, root):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        load.load(small_data(tmp_path / root if root else None))
    assert all(word in str(caught.value) for word in [*HINTS, root or ""])


def test_a_failed_download_is_named(tmp_path, monkeypatch):
    import torchvision.datasets

    asked = []

    class Unreachable(torchvision.datasets.CIFAR10):
        def __init__(self, root, train, download):
            asked.append((Path(root), download))
            raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Unreachable)
    lines = []
    with pytest.raises(InputError, match="no route to host"):
        load.load(Data("cifar10", root=tmp_path / "here", download=True), lines.append)
    assert asked == [(tmp_path / "here", True)]
    assert len(lines) == 1
    assert str(tmp_path / "here") in lines[0]


def test_the_digits_have_no_path(tmp_path):
    for data in (Data("digits", root=tmp_path), Data("digits", download=True)):
        with pytest.raises(InputError, match="come with scikit-learn"):
            load.load(data)
