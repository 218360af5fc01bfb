"""CIFAR-10 from the folder that torchvision keeps, with files of its own format made here."""

import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision.datasets

from robust_tickets import data
from robust_tickets.data import SPECS
from robust_tickets.errors import InputError
from robust_tickets.recipe import Data

TRAIN = [f"data_batch_{i}" for i in range(1, 6)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Five batches of ten images and a test batch of ten, under checksums that torchvision finds right."""
    monkeypatch.delenv("ROBUST_TICKETS_CIFAR10", raising=False)
    monkeypatch.setitem(SPECS, "cifar10", replace(SPECS["cifar10"], train_images=50, test_images=10))
    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    chance = np.random.default_rng(0)
    sums = {}
    for name in [*TRAIN, "test_batch"]:
        pixels = chance.integers(0, 256, (10, 3072), np.uint8)
        content = pickle.dumps({"data": pixels, "labels": chance.permutation(10).tolist()})
        (base / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
    names = pickle.dumps({"label_names": list("abcdefghij")})
    (base / "batches.meta").write_bytes(names)

    class Small(torchvision.datasets.CIFAR10):
        train_list = [[name, sums[name]] for name in TRAIN]  # noqa: RUF012
        test_list = [["test_batch", sums["test_batch"]]]  # noqa: RUF012
        meta = {  # noqa: RUF012
            "filename": "batches.meta",
            "key": "label_names",
            "md5": hashlib.md5(names).hexdigest(),
        }

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Small)
    return base


@pytest.mark.parametrize("inside", [False, True], ids=["root", "the folder itself"])
def test_torchvision_s_own_folder_is_read_as_torchvision_reads_it(folder, inside):
    dataset = data.load(Data("cifar10", root=folder if inside else folder.parent, val_images=10))
    theirs = torchvision.datasets.CIFAR10(str(folder.parent), train=True)
    assert dataset.title == "CIFAR-10"
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (40, 10, 10)
    for split in (dataset.train, dataset.val):
        for image, label, number in zip(split.images, split.labels, split.ids, strict=True):
            picture, expected = theirs[int(number)]
            assert torch.equal(image, torch.from_numpy(np.array(picture)).permute(2, 0, 1))
            assert int(label) == expected


def test_a_download_reaches_every_stage(folder, tmp_path, monkeypatch):
    """With --data.download and no place, evaluation finds the images that training was given."""
    from robust_tickets.cli import main

    monkeypatch.setattr("robust_tickets.data.cache.folder", lambda: tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "torchvision").symlink_to(folder.parent)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", lambda self: None)
    words = "--data.download --data.train-images 0 --data.val-images 10 --search.epochs 1 --search.batch 16"
    words += " --train.epochs 1 --train.batch 16 --train.ticket-epochs 1 --train.pgd.steps 1"
    words += " --evaluate.images 10 --evaluate.val-steps 1"
    main(["compare", "--recipe", "cifar10-cpu", "--runs", str(tmp_path / "runs"), *words.split()])


def test_a_damaged_file_is_refused_before_it_is_unpickled(folder):
    (folder / "data_batch_3").write_bytes(b"cos\nsystem\n(S'touch unpickled'\ntR.")
    with pytest.raises(InputError, match=r"damaged one: give its place by --data\.root"):
        data.load(Data("cifar10", root=folder.parent, val_images=10))
    assert not list(folder.parent.rglob("unpickled"))
