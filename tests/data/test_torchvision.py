"""Sets in torchvision's files give torchvision's images and labels; missing and damaged ones are named."""

from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets
from torchvision_files import inner, load

from robust_tickets.base.errors import InputError
from robust_tickets.data import data_paths
from robust_tickets.data.dataset import SPECS
from robust_tickets.data.torchvision_sets import TORCHVISION_FILES


@pytest.mark.parametrize("inside", [False, True], ids=["root", "the folder itself"])
@pytest.mark.parametrize("name", TORCHVISION_FILES)
def test_images_and_labels_equal_torchvision_s(small_set, monkeypatch, name, inside):
    root = small_set(name)
    dataset = load(name, inner(name, root) if inside else root)
    cls = getattr(torchvision.datasets, TORCHVISION_FILES[name].class_name)
    theirs = [cls(str(root), **part) for part in TORCHVISION_FILES[name].parts]
    spec = SPECS[name]
    first = len(theirs[0])
    assert (dataset.title, dataset.spec) == (spec.title, spec)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (first - 3, 3, 10)
    monkeypatch.setenv("ROBUST_TICKETS_" + name.upper().replace("-", "_"), str(root))
    assert load(name, None).fingerprint == dataset.fingerprint
    ids = []
    for split in (dataset.train, dataset.val, dataset.test):
        assert split.images.shape[1:] == spec.shape
        assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
        for image, label, number in zip(split.images, split.labels, split.ids.tolist(), strict=True):
            picture, expected = theirs[0][number] if number < first else theirs[1][number - first]
            pixels = np.array(picture).reshape(*spec.shape[1:], spec.shape[0]).transpose(2, 0, 1)
            assert np.array_equal(image.numpy(), pixels)
            assert int(label) == expected
            ids.append(number)
    assert sorted(ids) == list(range(first + 10))


@pytest.mark.parametrize("folder", [None, "nowhere", "empty"])
@pytest.mark.parametrize("name", TORCHVISION_FILES)
def test_a_missing_set_gets_hints(small_set, tmp_path, name, folder):
    small_set(name)
    (tmp_path / "empty").mkdir()
    problem = {None: f"{SPECS[name].title} not found", "nowhere": "nowhere not found"}
    hints = f"--data.root.*{data_paths.environment_variable(name)}.*--data.download"
    with pytest.raises(InputError, match=f"{problem.get(folder, 'empty holds no')}.*{hints}"):
        load(name, tmp_path / folder if folder else None)


@pytest.mark.parametrize("name", TORCHVISION_FILES)
def test_another_number_of_images_is_refused(small_set, monkeypatch, name):
    root = small_set(name)
    monkeypatch.setitem(SPECS, name, replace(SPECS[name], test_images=11))
    with pytest.raises(InputError, match=r"10\D.*11\b.*download it again"):
        load(name, root)


@pytest.mark.parametrize("name", TORCHVISION_FILES)
def test_a_failed_download_is_named_and_its_folder_is_the_root(small_set, tmp_path, monkeypatch, name):
    small_set(name)
    calls, lines = [], []

    def unreachable(root, download, **part):
        calls.append((Path(root), download))
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets, TORCHVISION_FILES[name].class_name, unreachable)
    default = tmp_path / "cache/robust-tickets/torchvision"
    for root, target in ((tmp_path / "here", tmp_path / "here"), (None, default)):
        with pytest.raises(InputError, match=rf"{SPECS[name].title} failed .*no route to host"):
            load(name, root, lines.append, download=True)
        assert calls.pop() == (target, True)
        assert str(target) in lines.pop()
        assert not lines


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_a_damaged_file_is_refused_before_it_is_read(small_set, name):
    root = small_set(name)
    damaged = {"cifar10": "data_batch_3", "cifar100": "train", "svhn": "train_32x32.mat"}[name]
    (inner(name, root) / damaged).write_bytes(b"cos\nsystem\n(S'touch unpickled'\ntR.")
    with pytest.raises(InputError, match=r"damaged one: pass --data\.root"):
        load(name, root)
    assert not list(root.rglob("unpickled"))


def test_debian_s_folder_is_read_if_no_path_is_given(small_set, tmp_path, monkeypatch):
    root = small_set("fashion-mnist")
    monkeypatch.setattr(
        "robust_tickets.data.data_paths.DEBIAN", {"fashion-mnist": inner("fashion-mnist", root)}
    )
    assert load("fashion-mnist", None).fingerprint == load("fashion-mnist", root).fingerprint
    with pytest.raises(InputError, match="elsewhere"):
        load("fashion-mnist", tmp_path / "elsewhere")


def test_a_download_reaches_every_stage(small_set, tmp_path, monkeypatch):
    """With --data.download and no path, all stages find the downloaded images."""
    from robust_tickets.cli.main import main

    root = small_set("cifar10")
    monkeypatch.setattr("robust_tickets.data.data_paths.cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "torchvision").symlink_to(root)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", lambda self: None)
    words = "--data.download --data.train-images 0 --data.val-images 10 --search.epochs 1 --search.batch 16"
    words += " --train.epochs 1 --train.batch 16 --train.ticket-epochs 1 --train.pgd.steps 1"
    words += " --evaluate.images 10 --evaluate.val-steps 1 --model.name lenet-300-100 --model.width 0.1"
    words += " --search.rounds 1 --compare.arms dense ticket"
    main(["compare", "--recipe", "cifar10-cpu", "--runs", str(tmp_path / "runs"), *words.split()])
