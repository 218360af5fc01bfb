"""Splits are constant, balanced and disjoint, and the fingerprint covers every pixel."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from robust_tickets.base.errors import InputError
from robust_tickets.data import load as loading
from robust_tickets.data.balance import balanced_order
from robust_tickets.data.dataset import SPECS, Split, count_training_images, hold_out_validation
from robust_tickets.recipe.fields import Data

SETTINGS = settings(deadline=None, derandomize=True, database=None, max_examples=60)
LABELS = st.lists(st.integers(0, 4), max_size=60).map(
    lambda numbers: torch.tensor(numbers, dtype=torch.int64)
)


@cache
def digits(val=180, train=0):
    return loading.load(Data("digits", val_images=val, train_images=train))


def part(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (n, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(n) % 10, torch.arange(n))


def ids(*parts):
    return [number for part in parts for number in part.ids.tolist()]


def counts(labels):
    return torch.bincount(labels, minlength=10)


@SETTINGS
@given(LABELS)
def test_the_order_is_a_constant_permutation_with_balanced_prefixes(labels):
    before = torch.get_rng_state()
    order = balanced_order(labels)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert torch.equal(balanced_order(labels), order)  # whatever the global generator
    assert sorted(order.tolist()) == list(range(len(labels)))
    members = torch.bincount(labels, minlength=5)
    for n in range(len(labels) + 1):
        prefix = torch.bincount(labels[order[:n]], minlength=5)
        # a class has two fewer than the largest only if it has no more images
        assert bool(((prefix >= prefix.max() - 1) | (prefix == members)).all())


def test_the_order_is_random_within_and_over_the_classes():
    labels = torch.arange(200) // 20
    order = balanced_order(labels)
    members = order[labels[order] == 3]
    assert members.tolist() != sorted(members.tolist())
    assert len({tuple(labels[order[i : i + 10]].tolist()) for i in range(0, 200, 10)}) > 10


def test_the_three_splits_share_no_sample_and_use_all():
    dataset = digits()
    assert sorted(ids(dataset.train, dataset.val, dataset.test)) == list(range(1797))
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (1257, 180, 360)
    assert SPECS["digits"].train_images + SPECS["digits"].test_images == 1797
    assert SPECS["digits"].shape == dataset.train.images.shape[1:]


@pytest.mark.parametrize("val", [1, 180])
@pytest.mark.parametrize("train", [1, 1000])
def test_validation_does_not_depend_on_the_number_of_training_images(val, train):
    full, less = digits(val), digits(val, train)
    assert torch.equal(less.val.ids, full.val.ids)
    assert torch.equal(less.val.images, full.val.images)
    assert torch.equal(less.test.ids, full.test.ids)
    assert len(less.train) == train
    assert set(ids(less.train)) <= set(ids(full.train))
    assert not set(ids(less.train)) & set(ids(less.val, less.test))


@pytest.mark.parametrize("n", [10, 55, 300, 1000])
def test_all_splits_are_balanced_over_the_classes(n):
    dataset = digits(180, n)
    assert len(dataset.train) == n
    for split in (dataset.train, dataset.val, dataset.test):
        sizes = counts(split.labels)
        assert int(sizes.max() - sizes.min()) <= 1


def test_an_id_is_scikit_learn_s_image_and_label_in_all_splits():
    bunch = load_digits()
    for dataset in (digits(), digits(57), digits(180, 55)):
        for split in (dataset.train, dataset.val, dataset.test):
            sixteenths = (split.images[:, 0].double() * 16 / 255).round()
            assert torch.equal(sixteenths, torch.from_numpy(bunch.images)[split.ids])
            assert torch.equal(split.labels, torch.from_numpy(bunch.target)[split.ids])
    assert (int(digits().train.images.min()), int(digits().train.images.max())) == (0, 255)


def test_the_fingerprint_does_not_depend_on_the_split():
    fingerprints = {digits(val, train).fingerprint for val in (57, 180) for train in (0, 55)}
    assert len(fingerprints) == 1
    assert len(fingerprints.pop()) == 16


@pytest.mark.parametrize("name", ["train", "test"])
@pytest.mark.parametrize("field", ["images", "labels"])
def test_the_fingerprint_changes_with_one_pixel_or_label(name, field):
    parts = {"train": part(40), "test": part(20, seed=1)}
    data = Data("digits", val_images=10, train_images=20)
    before = hold_out_validation(data, SPECS["digits"], "t", **parts).fingerprint
    assert hold_out_validation(data, SPECS["digits"], "t", **parts).fingerprint == before
    tensor = getattr(parts[name], field).clone()
    tensor.view(-1)[-1] ^= 1
    parts[name] = replace(parts[name], **{field: tensor})
    assert hold_out_validation(data, SPECS["digits"], "t", **parts).fingerprint != before


def test_first_is_a_constant_balanced_subset_and_0_is_all():
    test = digits().test
    assert torch.equal(test.first(50).ids, test.first(100).ids[:50])
    assert counts(test.first(50).labels).tolist() == [5] * 10
    assert sorted(ids(test.first(0))) == sorted(ids(test)) == sorted(ids(test.first(360)))
    with pytest.raises(InputError, match=r"361.*360"):
        test.first(361)


@pytest.mark.parametrize(("val", "train"), [(1437, 0), (438, 1000), (1, 10**9)], ids=str)
def test_too_many_training_images_are_refused_before_reading(val, train):
    data = Data("digits", val_images=val, train_images=train)
    said = f"train_images {train} and " if train else ""
    for call in (lambda data: count_training_images(data, SPECS["digits"]), loading.load):
        with pytest.raises(InputError, match=f"{said}.*val_images {val} .*1437"):
            call(data)
