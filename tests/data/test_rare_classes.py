"""Rare classes keep four fifths of their images in training; where none is rare, nothing changes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_tickets.data.balance import balanced_order, validation_order
from robust_tickets.data.user_images import from_tensors

SIZES = (100, 100, 100, 6)


def labels_of(sizes):
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]


def counts(labels, classes=4):
    return torch.bincount(labels, minlength=classes).tolist()


@pytest.mark.parametrize(("images", "rare"), [(4, 1), (10, 1), (20, 1), (24, 1), (40, 1), (300, 1)])
def test_a_rare_class_gives_at_most_a_fifth(images, rare):
    labels = labels_of(SIZES)
    order, notes = validation_order(labels, images, ("ant", "bee", "cat", "dog"))
    assert sorted(order.tolist()) == list(range(len(labels)))
    held_out = counts(labels[order[:images]])
    assert held_out[3] == rare
    assert max(held_out[:3]) - min(held_out[:3]) <= 1
    assert sum(held_out) == images
    if images == 4:
        assert notes == []
    else:
        assert notes == [
            "validation images of a rare class: 1 of the 6 images of 'dog', so that the others are trained on"
        ]


def test_the_training_images_stay_balanced_as_far_as_there_are_any():
    labels = labels_of(SIZES)
    order, _ = validation_order(labels, 40)
    assert counts(labels[order[40:60]]) == [5, 5, 5, 5]
    assert torch.equal(order, validation_order(labels, 40)[0])


@settings(deadline=None, derandomize=True, database=None, max_examples=60)
@given(st.integers(2, 6), st.integers(1, 40), st.lists(st.integers(0, 1), min_size=6, max_size=6), st.data())
def test_balanced_classes_are_split_as_ever(classes, each, more, data):
    labels = labels_of([10 * each + extra for extra in more[:classes]])
    images = data.draw(st.integers(1, len(labels) - 1))
    order, notes = validation_order(labels, images)
    assert torch.equal(order, balanced_order(labels))
    assert notes == []


MNIST = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
SVHN = (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659)


@pytest.mark.parametrize("sizes", [MNIST, SVHN], ids=["mnist", "svhn"])
def test_usual_data_are_split_as_ever(sizes):
    labels = labels_of(sizes)
    assert torch.equal(validation_order(labels, len(labels) // 10)[0], balanced_order(labels))


def test_where_the_others_are_too_few_a_line_says_so():
    labels = labels_of((5, 5, 2))
    order, (note,) = validation_order(labels, 11)
    assert torch.equal(order, balanced_order(labels))
    assert "images of 2: hold out fewer, by data.val_images" in note


def test_many_rare_classes_are_one_line():
    _, (note,) = validation_order(labels_of((400, 6, 6, 6, 6, 6)), 60)
    assert note.count("1 of the 6") == 3
    assert "and of 2 more classes" in note


def test_from_tensors_says_it_too(capsys):
    labels = labels_of(SIZES)
    images = torch.randint(256, (len(labels), 1, 8, 8), dtype=torch.uint8)
    dataset = from_tensors((images, labels), (images[:50], labels[:50]), val_images=40)
    assert counts(dataset.train.labels) == [87, 87, 87, 5]
    assert "1 of the 6 images of 3" in capsys.readouterr().err
