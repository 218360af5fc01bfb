"""Sets from the folders that torchvision keeps, with files of its own formats made here.

The last test is of the real Fashion-MNIST, where ROBUST_TICKETS_FASHION_MNIST says where it lies.
"""

import gzip
import hashlib
import os
import pickle
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import torch
import torchvision.datasets

from robust_tickets.base.errors import InputError
from robust_tickets.data import data_paths
from robust_tickets.data import load as loading
from robust_tickets.data.dataset import SPECS
from robust_tickets.data.torchvision_sets import TORCHVISION_FILES
from robust_tickets.recipe.fields import Data

TRAIN = [f"data_batch_{i}" for i in range(1, 6)]
REAL = os.environ.get("ROBUST_TICKETS_FASHION_MNIST")


def md5(content):
    return hashlib.md5(content).hexdigest()


def pickled(base, names, label_key, classes, chance):
    """Batches of ten images in CIFAR's format, and their checksums."""
    sums = {}
    for name in names:
        pixels = chance.integers(0, 256, (10, 3072), np.uint8)
        content = pickle.dumps({"data": pixels, label_key: chance.integers(0, classes, 10).tolist()})
        (base / name).write_bytes(content)
        sums[name] = md5(content)
    return sums


def cifar10(base, chance):
    sums = pickled(base, [*TRAIN, "test_batch"], "labels", 10, chance)
    names = pickle.dumps({"label_names": list("abcdefghij")})
    (base / "batches.meta").write_bytes(names)
    return {
        "train_list": [[name, sums[name]] for name in TRAIN],
        "test_list": [["test_batch", sums["test_batch"]]],
        "meta": {"filename": "batches.meta", "key": "label_names", "md5": md5(names)},
    }


def cifar100(base, chance):
    sums = pickled(base, ["train", "test"], "fine_labels", 100, chance)
    names = pickle.dumps({"fine_label_names": [str(n) for n in range(100)]})
    (base / "meta").write_bytes(names)
    return {
        "train_list": [["train", sums["train"]]],
        "test_list": [["test", sums["test"]]],
        "meta": {"filename": "meta", "key": "fine_label_names", "md5": md5(names)},
    }


def svhn(base, chance):
    rows = {}
    for part in ("train", "test"):
        file = base / f"{part}_32x32.mat"
        labels = (np.arange(10, dtype=np.uint8) + 1)[:, None]  # SVHN's nought is 10
        scipy.io.savemat(file, {"X": chance.integers(0, 256, (32, 32, 3, 10), np.uint8), "y": labels})
        rows[part] = ["http://nowhere.invalid", file.name, md5(file.read_bytes())]
    return {"split_list": rows}


def idx_bytes(array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.tobytes()


def mnist(base, chance):
    for part in ("train", "t10k"):
        pixels = chance.integers(0, 256, (10, 28, 28), np.uint8)
        (base / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(pixels))
        (base / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(10, dtype=np.uint8)))
    return {}


MAKERS = {"cifar10": cifar10, "cifar100": cifar100, "svhn": svhn, "mnist": mnist, "fashion-mnist": mnist}
IDX = ("mnist", "fashion-mnist")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Make a set's files under checksums that torchvision finds right; gives torchvision's root."""

    def make(name):
        monkeypatch.delenv(data_paths.environment_variable(name), raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr("robust_tickets.data.data_paths.DEBIAN", {})
        train = 50 if name == "cifar10" else 10
        monkeypatch.setitem(SPECS, name, replace(SPECS[name], train_images=train, test_images=10))
        base = (tmp_path / "root").joinpath(*TORCHVISION_FILES[name].folder)
        base.mkdir(parents=True)
        fields = MAKERS[name](base, np.random.default_rng(0))
        of = getattr(torchvision.datasets, TORCHVISION_FILES[name].torchvision)
        monkeypatch.setattr(torchvision.datasets, of.__name__, type(of.__name__, (of,), fields))
        return tmp_path / "root"

    return make


def inner(name, root):
    return root.joinpath(*TORCHVISION_FILES[name].folder)


def load(name, root, **more):
    return loading.load(Data(name, root=root, val_images=3, **more))


@pytest.mark.parametrize("inside", [False, True], ids=["root", "the folder itself"])
@pytest.mark.parametrize("name", TORCHVISION_FILES)
def test_torchvision_s_own_folder_is_read_as_torchvision_reads_it(kept, name, inside):
    root = kept(name)
    dataset = load(name, inner(name, root) if inside else root)
    of = getattr(torchvision.datasets, TORCHVISION_FILES[name].torchvision)
    theirs = [of(str(root), **part) for part in TORCHVISION_FILES[name].parts]
    spec = SPECS[name]
    first = len(theirs[0])
    assert (dataset.title, dataset.spec) == (spec.title, spec)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (first - 3, 3, 10)
    seen = []
    for split in (dataset.train, dataset.val, dataset.test):
        assert split.images.shape[1:] == spec.shape
        assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
        for image, label, number in zip(split.images, split.labels, split.ids.tolist(), strict=True):
            picture, expected = theirs[0][number] if number < first else theirs[1][number - first]
            pixels = np.array(picture).reshape(*spec.shape[1:], spec.shape[0]).transpose(2, 0, 1)
            assert np.array_equal(image.numpy(), pixels)
            assert int(label) == expected
            seen.append(number)
    assert sorted(seen) == list(range(first + 10))


@pytest.mark.parametrize("name", TORCHVISION_FILES)
def test_the_environment_names_the_place(kept, monkeypatch, name):
    root = kept(name)
    monkeypatch.setenv("ROBUST_TICKETS_" + name.upper().replace("-", "_"), str(root))
    assert load(name, None).fingerprint == load(name, root).fingerprint


@pytest.mark.parametrize("place", [None, "nowhere", "empty"])
@pytest.mark.parametrize("name", TORCHVISION_FILES)
def test_where_there_is_nothing_the_ways_to_get_it_are_said(kept, tmp_path, name, place):
    kept(name)
    (tmp_path / "empty").mkdir()
    words = [SPECS[name].title if place != "nowhere" else "no", place or "not found"]
    with pytest.raises(InputError) as caught:
        load(name, tmp_path / place if place else None)
    ways = ("--data.root", data_paths.environment_variable(name), "--data.download")
    assert all(word in str(caught.value) for word in (*words, *ways)), str(caught.value)


@pytest.mark.parametrize("name", TORCHVISION_FILES)
def test_another_number_of_images_is_refused(kept, monkeypatch, name):
    root = kept(name)
    monkeypatch.setitem(SPECS, name, replace(SPECS[name], test_images=11))
    with pytest.raises(InputError, match=r"10\D.*11\b.*fetch it again"):
        load(name, root)


@pytest.mark.parametrize("name", TORCHVISION_FILES)
def test_a_download_that_fails_is_said_and_goes_to_the_root(kept, tmp_path, monkeypatch, name):
    kept(name)
    asked = []

    def unreachable(root, download, **part):
        asked.append((Path(root), download))
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets, TORCHVISION_FILES[name].torchvision, unreachable)
    for root, goes_to in (
        (tmp_path / "here", tmp_path / "here"),
        (None, tmp_path / "cache/robust-tickets/torchvision"),
    ):
        with pytest.raises(InputError, match=rf"{SPECS[name].title} failed .*no route to host"):
            load(name, root, download=True)
        assert asked.pop() == (goes_to, True)


@pytest.mark.parametrize("name", IDX)
def test_a_download_of_idx_files_is_read(kept, tmp_path, monkeypatch, name):
    root = kept(name)
    expected = load(name, root).fingerprint

    def fetch(name, to, download, say):
        (to / TORCHVISION_FILES[name].folder[0]).symlink_to(root / TORCHVISION_FILES[name].folder[0])

    (tmp_path / "new").mkdir()
    monkeypatch.setattr("robust_tickets.data.torchvision_sets._torchvision", fetch)
    assert load(name, tmp_path / "new", download=True).fingerprint == expected


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_a_damaged_file_is_refused_before_it_is_read(kept, name):
    root = kept(name)
    damaged = (
        inner(name, root) / {"cifar10": "data_batch_3", "cifar100": "train", "svhn": "train_32x32.mat"}[name]
    )
    damaged.write_bytes(b"cos\nsystem\n(S'touch unpickled'\ntR.")
    with pytest.raises(InputError, match=r"damaged one: pass --data\.root"):
        load(name, root)
    assert not list(root.rglob("unpickled"))


@pytest.mark.parametrize("packed", ["none", "all", "some", "both"])
@pytest.mark.parametrize("name", IDX)
def test_any_folder_with_the_four_files_will_do_gzipped_or_not(kept, tmp_path, name, packed):
    root = kept(name)
    expected = load(name, root).fingerprint
    (tmp_path / "flat").mkdir()
    for number, file in enumerate(sorted(inner(name, root).iterdir())):
        content = file.read_bytes()
        if packed in ("all", "both") or (packed == "some" and number % 2):
            (tmp_path / "flat" / f"{file.name}.gz").write_bytes(gzip.compress(content))
        if packed in ("none", "both") or (packed == "some" and not number % 2):
            (tmp_path / "flat" / file.name).write_bytes(content)
    assert load(name, tmp_path / "flat").fingerprint == expected


def test_debian_s_folder_is_known_and_a_named_place_goes_before_it(kept, tmp_path, monkeypatch):
    root = kept("fashion-mnist")
    monkeypatch.setattr(
        "robust_tickets.data.data_paths.DEBIAN", {"fashion-mnist": inner("fashion-mnist", root)}
    )
    assert load("fashion-mnist", None).fingerprint == load("fashion-mnist", root).fingerprint
    with pytest.raises(InputError, match="elsewhere"):
        load("fashion-mnist", tmp_path / "elsewhere")


IMAGES, LABELS = "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
DAMAGE = {
    "absent": (IMAGES, None, ["has no train-images-idx3-ubyte"]),
    "empty": (IMAGES, lambda c: b"", ["nothing", "00 00 08 03"]),
    "labels for images": (
        IMAGES,
        lambda c: idx_bytes(np.zeros(10, np.uint8)),
        ["00 00 08 01", "00 00 08 03"],
    ),
    "of floats": (IMAGES, lambda c: b"\0\0\x0d\x03" + c[4:], ["00 00 0d 03"]),
    "text": (IMAGES, lambda c: b"<html>" * 2000, ["3c 68 74 6d"]),
    "another number": (LABELS, lambda c: idx_bytes(np.zeros(9, np.uint8)), ["holds 9", "expected 10"]),
    "another size": (
        IMAGES,
        lambda c: idx_bytes(np.zeros((10, 28, 27), np.uint8)),
        ["10 x 28 x 27", "10 x 28 x 28"],
    ),
    "a header alone": (IMAGES, lambda c: c[:9], ["10 x 0 x 0", "10 x 28 x 28"]),
    "cut short": (IMAGES, lambda c: c[:-1], ["7,840", "7,839"]),
    "too long": (LABELS, lambda c: c + b"\0", ["10 bytes", "more"]),
    "a label too high": (LABELS, lambda c: c[:-1] + b"\x0a", ["label 10", "10 classes"]),
}


@pytest.mark.parametrize("gzipped", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize(("which", "spoil", "words"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_idx_file_is_said(kept, which, spoil, words, gzipped):
    root = kept("mnist")
    folder = inner("mnist", root)
    file = folder / which
    content = file.read_bytes()
    file.unlink()
    if spoil and gzipped:
        file.with_name(f"{which}.gz").write_bytes(gzip.compress(spoil(content)))
    elif spoil:
        file.write_bytes(spoil(content))
    with pytest.raises(InputError) as caught:
        load("mnist", root)
    assert all(word in str(caught.value) for word in [*words, str(folder), "fetch it again"])


@pytest.mark.parametrize(
    "spoil", [lambda c: c[: len(c) // 2], lambda c: b"no gzip", lambda c: c[:20] + c[21:]]
)
def test_a_damaged_gzip_is_said(kept, spoil):
    root = kept("mnist")
    file = inner("mnist", root) / IMAGES
    file.with_name(f"{IMAGES}.gz").write_bytes(spoil(gzip.compress(file.read_bytes())))
    file.unlink()
    with pytest.raises(InputError, match=rf"{IMAGES}\.gz.*fetch it again"):
        load("mnist", root)


def test_a_download_reaches_every_stage(kept, tmp_path, monkeypatch):
    """With --data.download and no place, evaluation finds the images that training was given."""
    from robust_tickets.cli.main import main

    root = kept("cifar10")
    monkeypatch.setattr("robust_tickets.data.cache.folder", lambda: tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "torchvision").symlink_to(root)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", lambda self: None)
    words = "--data.download --data.train-images 0 --data.val-images 10 --search.epochs 1 --search.batch 16"
    words += " --train.epochs 1 --train.batch 16 --train.ticket-epochs 1 --train.pgd.steps 1"
    words += " --evaluate.images 10 --evaluate.val-steps 1"
    main(["compare", "--recipe", "cifar10-cpu", "--runs", str(tmp_path / "runs"), *words.split()])


@pytest.mark.skipif(not REAL, reason="needs ROBUST_TICKETS_FASHION_MNIST")
def test_the_real_fashion_mnist_is_what_is_known_of_it_beforehand(monkeypatch):
    monkeypatch.setenv("ROBUST_TICKETS_FASHION_MNIST", str(REAL))
    fashion = loading.load(Data("fashion-mnist", val_images=5000))
    spec = SPECS["fashion-mnist"]
    assert fashion.title == "Fashion-MNIST"
    for part, share in ((fashion.train, 5500), (fashion.val, 500), (fashion.test, 1000)):
        assert torch.bincount(part.labels).tolist() == [share] * 10
        assert part.images.shape[1:] == spec.shape
    pixels = torch.cat([fashion.train.images, fashion.val.images]).double() / 255
    assert round(float(pixels.mean()), 4) == spec.mean[0]
    assert round(float(pixels.std()), 4) == spec.std[0]
    with pytest.raises(InputError, match=r"holds Fashion-MNIST.* use --data\.name fashion-mnist"):
        loading.load(Data("mnist", root=Path(REAL)))
