"""The user's own tensors: equal images of any type are equal data, and mistakes are named."""

import numpy as np
import pytest
import torch

from robust_tickets.base.errors import InputError
from robust_tickets.data.user_images import from_tensors


def pair(n=12, shape=(3, 8, 8), classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (n, *shape), dtype=torch.uint8, generator=generator)
    return images, torch.arange(n) % classes


TRAIN, TEST = pair(), pair(6, seed=1)


def load(train=TRAIN, test=TEST, **options):
    return from_tensors(train, test, **{"val_images": 3, **options})


SAME = {
    "numpy": lambda x, y: (x.numpy(), y.numpy()),
    "read-only": lambda x, y: (np.broadcast_to(x.numpy(), x.shape), y.numpy()),
    "floats": lambda x, y: (x.float() / 255, y),
    "floats to be rounded": lambda x, y: ((x.double() / 255 + 0.4 / 255).clamp(max=1), y),
    "small labels": lambda x, y: (x, y.to(torch.uint8)),
    "channels last": lambda x, y: (x.contiguous(memory_format=torch.channels_last), y),
    "with gradient": lambda x, y: ((x.float() / 255).requires_grad_(), y),
}


@pytest.mark.parametrize("convert", SAME.values(), ids=SAME)
def test_equal_images_of_any_type_are_equal_data(convert):
    expected, ours = load(), load(convert(*TRAIN), convert(*TEST))
    assert ours.fingerprint == expected.fingerprint
    assert (ours.spec, ours.title) == (expected.spec, expected.title)
    for part in ("train", "val", "test"):
        assert torch.equal(getattr(ours, part).images, getattr(expected, part).images)
        assert getattr(ours, part).labels.dtype == torch.int64


def test_images_and_labels_stay_together():
    dataset = load()
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (9, 3, 6)
    images, labels = (torch.cat([a, b]) for a, b in zip(TRAIN, TEST, strict=True))
    ids = []
    for part in (dataset.train, dataset.val, dataset.test):
        assert torch.equal(part.images, images[part.ids])
        assert torch.equal(part.labels, labels[part.ids])
        ids += part.ids.tolist()
    assert sorted(ids) == list(range(18))
    assert len(load(train_images=4).train) == 4


def test_the_spec_describes_the_training_images():
    spec = load(flip=True).spec
    assert (spec.title, spec.shape, spec.classes) == ("own images (3 classes)", (3, 8, 8), 3)
    assert (spec.train_images, spec.test_images, spec.crop_padding, spec.flip) == (12, 6, 1, True)
    values = TRAIN[0].double().transpose(0, 1).flatten(1) / 255
    assert spec.mean == pytest.approx(values.mean(1).tolist(), abs=5.1e-5)
    assert spec.std == pytest.approx(values.std(1, correction=0).tolist(), abs=5.1e-5)
    assert not load().spec.flip


@pytest.mark.parametrize(("side", "padding"), [(8, 1), (28, 4), (32, 4), (64, 8), (3, 0)])
def test_the_padding_is_an_eighth_of_the_side(side, padding):
    spec = load(pair(shape=(1, side, side + 9)), pair(6, shape=(1, side, side + 9))).spec
    assert spec.crop_padding == padding


def test_grey_images_need_no_channel():
    train, test = pair(shape=(1, 8, 8)), pair(6, shape=(1, 8, 8))
    flat = load((train[0][:, 0], train[1]), (test[0][:, 0], test[1]))
    assert flat.fingerprint == load(train, test).fingerprint
    assert flat.spec.shape == (1, 8, 8)


def test_a_constant_channel_has_a_std_of_1():
    images = TRAIN[0].clone()
    images[:, 2] = 7
    spec = load((images, TRAIN[1])).spec
    assert spec.std[2] == 1
    assert spec.mean[2] == round(7 / 255, 4)


def images(change):
    return lambda: {"train": (change(TRAIN[0]), TRAIN[1])}


def labels(change):
    return lambda: {"train": (TRAIN[0], change(TRAIN[1]))}


MISTAKES = {
    r"train images.*outside \[0, 1\].*scale them": images(lambda x: x.float() / 255 - 0.5),
    r"train images.*or NaN.*scale them": images(lambda x: (x.float() / 255).fill_(torch.nan)),
    r"torch\.int64.*uint8": images(lambda x: x.long()),
    r"\(12, 8\).*\(N, C, H, W\)": images(lambda x: x[:, 0, 0]),
    r"\(12, 8, 8, 3\).*permute\(0, 3, 1, 2\)": images(lambda x: x.permute(0, 2, 3, 1)),
    r"\(3, 8, 8\).*\(3, 8, 9\).*one shape": lambda: {"test": pair(6, (3, 8, 9))},
    "train images are no tensor or array of numbers": images(lambda x: ["a"] * 12),
    r"train labels.*torch\.float32.*integers \(N,\)": labels(lambda y: y.float()),
    r"\(12, 3\).*integers \(N,\)": labels(lambda y: torch.eye(3).long()[y]),
    "12 train images and 11 labels": labels(lambda y: y[:-1]),
    "-1 to 1.*from 0": labels(lambda y: y - 1),
    "no training images of the class '3'": lambda: {"test": (TEST[0], TEST[1] + 1)},
    "no test images of the class '2'": lambda: {"test": pair(6, classes=2)},
    "one class, '0'": lambda: {"train": pair(classes=1), "test": pair(6, classes=1)},
    r"data\.val_images 12.*12 training images": lambda: {"val_images": 12},
    "labels go from 1 to 3, .* counted from 0: pass labels - 1": lambda: {
        "train": (TRAIN[0], TRAIN[1] + 1),
        "test": (TEST[0], TEST[1] + 1),
    },
    "leaves no training image of the class 1": lambda: {
        "train": (TRAIN[0], torch.tensor([0] * 8 + [1] * 2 + [2] * 2)),
        "val_images": 9,
    },
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_is_named(message):
    with pytest.raises(InputError, match=message):
        load(**MISTAKES[message]())


def test_the_caller_s_images_are_left_unchanged():
    before = [x.clone() for x in (*TRAIN, *TEST)]
    load()
    assert all(torch.equal(a, b) for a, b in zip(before, (*TRAIN, *TEST), strict=True))
