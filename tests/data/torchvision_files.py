"""Small data sets in the files of torchvision's classes, for tests."""

import hashlib
import pickle
from dataclasses import replace

import numpy as np
import scipy.io
import torchvision.datasets

from robust_tickets.data import data_paths
from robust_tickets.data import load as loading
from robust_tickets.data.dataset import SPECS
from robust_tickets.data.torchvision_sets import TORCHVISION_FILES
from robust_tickets.recipe.fields import Data

BATCHES = [f"data_batch_{i}" for i in range(1, 6)]


def md5(content):
    return hashlib.md5(content).hexdigest()


def write_cifar(base, train, label_key, names_file, classes, generator):
    """Write batches of ten images in CIFAR's format; gives the lists that torchvision checks."""
    test = "test_batch" if classes == 10 else "test"
    contents = {}
    for name in (*train, test):
        pixels = generator.integers(0, 256, (10, 3072), np.uint8)
        contents[name] = {"data": pixels, f"{label_key}s": generator.integers(0, classes, 10).tolist()}
    contents[names_file] = {f"{label_key}_names": [str(n) for n in range(classes)]}
    sums = {}
    for name, content in contents.items():
        (base / name).write_bytes(pickle.dumps(content))
        sums[name] = md5((base / name).read_bytes())
    return {
        "train_list": [[name, sums[name]] for name in train],
        "test_list": [[test, sums[test]]],
        "meta": {"filename": names_file, "key": f"{label_key}_names", "md5": sums[names_file]},
    }


def write_cifar10(base, generator):
    return write_cifar(base, BATCHES, "label", "batches.meta", 10, generator)


def write_cifar100(base, generator):
    return write_cifar(base, ["train"], "fine_label", "meta", 100, generator)


def write_svhn(base, generator):
    rows = {}
    for part in ("train", "test"):
        file = base / f"{part}_32x32.mat"
        labels = (np.arange(10, dtype=np.uint8) + 1)[:, None]  # SVHN's label of the digit 0 is 10
        scipy.io.savemat(file, {"X": generator.integers(0, 256, (32, 32, 3, 10), np.uint8), "y": labels})
        rows[part] = ["http://nowhere.invalid", file.name, md5(file.read_bytes())]
    return {"split_list": rows}


def idx_bytes(array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.tobytes()


def write_mnist(base, generator):
    for part in ("train", "t10k"):
        pixels = generator.integers(0, 256, (10, 28, 28), np.uint8)
        (base / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(pixels))
        (base / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(10, dtype=np.uint8)))
    return {}


WRITERS = {
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "svhn": write_svhn,
    "mnist": write_mnist,
    "fashion-mnist": write_mnist,
}
IDX = ("mnist", "fashion-mnist")


def write_small(name, tmp_path, monkeypatch):
    """Write a set of a few images, and let torchvision accept its checksums; gives torchvision's root."""
    monkeypatch.delenv(data_paths.environment_variable(name), raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("robust_tickets.data.data_paths.DEBIAN", {})
    train = 50 if name == "cifar10" else 10
    monkeypatch.setitem(SPECS, name, replace(SPECS[name], train_images=train, test_images=10))
    root = tmp_path / "root"
    inner(name, root).mkdir(parents=True)
    fields = WRITERS[name](inner(name, root), np.random.default_rng(0))
    cls = getattr(torchvision.datasets, TORCHVISION_FILES[name].class_name)
    monkeypatch.setattr(torchvision.datasets, cls.__name__, type(cls.__name__, (cls,), fields))
    return root


def inner(name, root):
    """The set's folder below the root."""
    return root.joinpath(*TORCHVISION_FILES[name].folder)


def load(name, root, log=lambda line: None, **options):
    return loading.load(Data(name, root=root, val_images=3, **options), log)
