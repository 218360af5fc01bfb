"""Splits: constant, balanced and disjoint; and a fingerprint of every pixel."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_tickets.base.errors import InputError
from robust_tickets.data import load as loading
from robust_tickets.data.dataset import SPECS, Split, balanced_order, hold_out_validation, training_images
from robust_tickets.recipe.fields import Data

SETTINGS = settings(deadline=None, derandomize=True, database=None, max_examples=60)
LABELS = st.lists(st.integers(0, 4), max_size=60).map(
    lambda numbers: torch.tensor(numbers, dtype=torch.int64)
)


@pytest.fixture(scope="module")
def digits():
    """The digits by how many are held out and trained on."""
    made = {}

    def load(val=180, train=0):
        return made.setdefault((val, train), loading.load(Data("digits", val_images=val, train_images=train)))

    return load


def part(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (n, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(n) % 10, torch.arange(n))


def ids(*parts):
    return [number for one in parts for number in one.ids.tolist()]


def counts(labels):
    return torch.bincount(labels, minlength=10)


@SETTINGS
@given(LABELS)
def test_the_order_is_a_permutation_in_which_every_prefix_is_balanced(labels):
    order = balanced_order(labels)
    assert sorted(order.tolist()) == list(range(len(labels)))
    members = torch.bincount(labels, minlength=5)
    for n in range(len(labels) + 1):
        found = torch.bincount(labels[order[:n]], minlength=5)
        # a class is behind the fullest by more than one only if none of it are left
        assert bool(((found >= found.max() - 1) | (found == members)).all())


@SETTINGS
@given(LABELS, st.integers(0, 1000))
def test_the_order_is_constant_and_draws_no_one_elses_numbers(labels, seed):
    first = balanced_order(labels)
    torch.manual_seed(seed)
    before = torch.get_rng_state()
    assert torch.equal(balanced_order(labels), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_order_is_shuffled_within_and_over_the_classes():
    labels = torch.arange(200) // 20
    order = balanced_order(labels)
    members = order[labels[order] == 3]
    assert members.tolist() != sorted(members.tolist())
    assert len({tuple(labels[order[i : i + 10]].tolist()) for i in range(0, 200, 10)}) > 10


def test_train_validation_and_test_share_no_sample_and_use_all(digits):
    whole = digits()
    assert sorted(ids(whole.train, whole.val, whole.test)) == list(range(1797))
    assert (len(whole.train), len(whole.val), len(whole.test)) == (1257, 180, 360)
    assert SPECS["digits"].train_images + SPECS["digits"].test_images == 1797
    assert SPECS["digits"].shape == whole.train.images.shape[1:]


@pytest.mark.parametrize("val", [1, 57, 180])
@pytest.mark.parametrize("train", [1, 55, 1000])
def test_validation_is_the_same_however_much_is_trained_on(digits, val, train):
    whole, less = digits(val), digits(val, train)
    assert torch.equal(less.val.ids, whole.val.ids)
    assert torch.equal(less.val.images, whole.val.images)
    assert torch.equal(less.test.ids, whole.test.ids)
    assert len(less.train) == train
    assert set(ids(less.train)) <= set(ids(whole.train))
    assert not set(ids(less.train)) & set(ids(less.val, less.test))


@pytest.mark.parametrize("n", [10, 55, 300, 1000])
def test_the_training_images_are_balanced_over_the_classes(digits, n):
    found = counts(digits(180, n).train.labels)
    assert int(found.sum()) == n
    assert int(found.max() - found.min()) <= 1


def test_validation_and_test_are_balanced_too(digits):
    for one in (digits().val, digits().test):
        found = counts(one.labels)
        assert int(found.max() - found.min()) <= 1


def test_an_id_is_one_image_in_whatever_split_it_lies(digits):
    pixels = {}
    for whole in (digits(), digits(57), digits(180, 55)):
        for one in (whole.train, whole.val, whole.test):
            for number, image, label in zip(one.ids.tolist(), one.images, one.labels.tolist(), strict=True):
                first_image, first_label = pixels.setdefault(number, (image, label))
                assert torch.equal(image, first_image)
                assert label == first_label


def test_digits_are_scikit_learns_pixels_on_our_scale(digits):
    from sklearn.datasets import load_digits

    bunch = load_digits()
    ours = digits()
    images = torch.cat([p.images for p in (ours.train, ours.val, ours.test)]).double()[:, 0]
    assert images.min() == 0
    assert images.max() == 255
    theirs = sorted((image.ravel().tolist(), int(label)) for image, label in zip(bunch.images, bunch.target))  # noqa: B905
    labels = torch.cat([p.labels for p in (ours.train, ours.val, ours.test)])
    mine = sorted(
        ((image.flatten() * 16 / 255).round().tolist(), int(label))
        for image, label in zip(images, labels, strict=True)
    )
    assert mine == theirs


def test_the_fingerprint_is_of_all_images_before_any_split(digits):
    prints = {digits(val, train).fingerprint for val in (57, 180) for train in (0, 55)}
    assert len(prints) == 1
    assert len(prints.pop()) == 16


@pytest.mark.parametrize("where", ["train", "test"])
@pytest.mark.parametrize("what", ["images", "labels"])
def test_the_fingerprint_changes_with_one_pixel_or_label(where, what):
    parts = {"train": part(40), "test": part(20, seed=1)}
    data_ = Data("digits", val_images=10, train_images=20)
    before = hold_out_validation(data_, SPECS["digits"], "t", **parts).fingerprint
    assert hold_out_validation(data_, SPECS["digits"], "t", **parts).fingerprint == before
    altered = getattr(parts[where], what).clone()
    altered.view(-1)[-1] ^= 1
    parts[where] = replace(parts[where], **{what: altered})
    assert hold_out_validation(data_, SPECS["digits"], "t", **parts).fingerprint != before


def test_first_is_a_constant_balanced_subset_and_nought_is_all(digits):
    test = digits().test
    assert torch.equal(test.first(50).ids, test.first(100).ids[:50])
    assert counts(test.first(50).labels).tolist() == [5] * 10
    assert sorted(ids(test.first(0))) == sorted(ids(test)) == sorted(ids(test.first(360)))
    assert torch.equal(test.first(7).ids, test.first(7).ids)


def test_asking_for_more_images_than_there_are_names_both_numbers(digits):
    with pytest.raises(InputError, match=r"361.*360"):
        digits().test.first(361)


def test_take_keeps_image_label_and_id_together():
    whole = part(20)
    rows = torch.tensor([7, 0, 7, 19])
    taken = whole.take(rows)
    assert ids(taken) == [7, 0, 7, 19]
    assert torch.equal(taken.images, whole.images[rows])
    assert torch.equal(taken.labels, whole.labels[rows])
    assert len(taken) == 4


@pytest.mark.parametrize(
    ("name", "val", "train", "expected"),
    [
        ("digits", 180, 0, 1257),
        ("digits", 1436, 0, 1),
        ("digits", 437, 1000, 1000),
        ("cifar10", 500, 0, 49_500),
    ],
)
def test_the_number_of_training_images_is_known_beforehand(name, val, train, expected):
    assert training_images(Data(name, val_images=val, train_images=train), SPECS[name]) == expected


@pytest.mark.parametrize(
    ("val", "train"), [(1437, 0), (2000, 0), (438, 1000), (180, 1258), (1, 10**9)], ids=str
)
def test_more_training_images_than_there_are_is_refused_before_reading(val, train):
    which = Data("digits", val_images=val, train_images=train)
    for ask in (lambda asked: training_images(asked, SPECS["digits"]), loading.load):
        with pytest.raises(InputError) as caught:
            ask(which)
        assert all(str(number) in str(caught.value) for number in (val, train, 1437))
