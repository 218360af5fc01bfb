"""Batches: an epoch depends on (seed, epoch) alone, and augmentation equals a plain implementation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_tickets.base.errors import InputError
from robust_tickets.data.augmentation import Augmentation
from robust_tickets.data.batches import batches, steps_per_epoch, to_float
from robust_tickets.data.dataset import SPECS, Split

SETTINGS = settings(deadline=None, derandomize=True, database=None, max_examples=50)
DIGITS, CIFAR = SPECS["digits"], SPECS["cifar10"]
PLAIN = replace(CIFAR, crop_padding=0, flip=False)


def split(n, shape=(3, 8, 8)):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (n, *shape), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(n) % 10, torch.arange(n) + 1000)


def epoch_of(part, spec=CIFAR, batch=8, *, seed=0, epoch=0, channels_last=True):
    return list(batches(part, spec, batch, seed=seed, epoch=epoch, channels_last=channels_last))


def same(ours, theirs):
    return all(
        torch.equal(a, b)
        for x, y in zip(ours, theirs, strict=True)
        for a, b in zip(x[:4], y[:4], strict=True)
    )


def ids_of(epoch):
    return [number for _, _, ids, *_ in epoch for number in ids.tolist()]


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (0, 7), (3, 1), (2**31 - 1, 999)])
def test_any_epoch_can_be_drawn_again_without_the_global_generator(seed, epoch):
    part = split(50)
    first = epoch_of(part, seed=seed, epoch=epoch)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    epoch_of(part, seed=seed, epoch=epoch + 1)
    assert same(epoch_of(part, seed=seed, epoch=epoch), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_epoch_and_every_seed_has_another_order_and_other_crops():
    part = split(50)
    epochs = [epoch_of(part, seed=seed, epoch=epoch) for seed in range(4) for epoch in range(4)]
    assert len({tuple(ids_of(epoch)) for epoch in epochs}) == len(epochs)
    alike = replace(part, images=part.images[:1].expand(50, -1, -1, -1))  # differ in crops alone
    pixels = {
        torch.cat([batch.images for batch in epoch_of(alike, seed=s, epoch=e)]).numpy().tobytes()
        for s in range(4)
        for e in range(4)
    }
    assert len(pixels) == len(epochs)


@SETTINGS
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 100))
def test_batches_are_whole_and_no_sample_comes_twice(n, batch, epoch):
    if batch > n:
        with pytest.raises(InputError, match=rf"search.batch {batch} .* {n} training images"):
            steps_per_epoch(n, batch, "search.batch")
        with pytest.raises(InputError):
            epoch_of(split(n), batch=batch)
        return
    batches_ = epoch_of(split(n), batch=batch, epoch=epoch)
    assert len(batches_) == steps_per_epoch(n, batch) == n // batch
    assert all(len(x) == len(labels) == len(ids) == batch for x, labels, ids, *_ in batches_)
    assert len(set(ids_of(batches_))) == len(ids_of(batches_)) == n // batch * batch
    assert set(ids_of(batches_)) <= set(range(1000, 1000 + n))


def test_each_epoch_leaves_out_other_samples():
    left_out = [
        set(range(1000, 1013)) - set(ids_of(epoch_of(split(13), batch=4, epoch=e))) for e in range(60)
    ]
    assert set().union(*left_out) == set(range(1000, 1013))


def test_image_label_and_id_stay_together():
    part = split(40)
    for images, labels, ids, rows, _ in epoch_of(part, PLAIN):
        assert torch.equal(images, to_float(part.images[ids - 1000], True))
        assert torch.equal(part.ids[rows], ids)
        assert torch.equal(labels, part.labels[ids - 1000])


@pytest.mark.parametrize("spec", [DIGITS, CIFAR, PLAIN])
@pytest.mark.parametrize("channels_last", [True, False])
def test_images_are_floats_in_the_memory_format(spec, channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for images, labels, ids, *_ in epoch_of(split(32, spec.shape), spec, channels_last=channels_last):
        assert images.shape == (8, *spec.shape)
        assert images.is_contiguous(memory_format=layout)
        assert (images.dtype, labels.dtype, ids.dtype) == (torch.float32, torch.int64, torch.int64)


def test_every_byte_is_divided_by_255():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 4, 8, 8)
    floats = to_float(images, False)
    assert np.array_equal(floats.numpy().ravel(), np.arange(256, dtype=np.float32) / np.float32(255))
    assert torch.equal(images.flatten(), torch.arange(256, dtype=torch.uint8))  # unchanged


def crop_and_flip_one(image, down, right, flip, padding):
    """Pad one image, crop it, flip the crop."""
    channels, height, width = image.shape
    padded = np.zeros((channels, height + 2 * padding, width + 2 * padding), image.dtype)
    padded[:, padding : padding + height, padding : padding + width] = image
    crop = padded[:, down : down + height, right : right + width]
    return crop[:, :, ::-1] if flip else crop


@SETTINGS
@given(st.data(), st.integers(0, 4), st.sampled_from([(1, 8, 8), (3, 8, 8), (3, 5, 7), (2, 1, 3)]))
def test_crops_and_flips_equal_those_of_single_images(data, padding, shape):
    images = split(6, shape).images
    offsets = st.lists(st.integers(0, 2 * padding), min_size=6, max_size=6)
    down, right = data.draw(offsets), data.draw(offsets)
    flip = data.draw(st.lists(st.booleans(), min_size=6, max_size=6))
    crops = Augmentation(torch.tensor(down), torch.tensor(right), torch.tensor(flip), padding).apply(images)
    one_by_one = [crop_and_flip_one(images[i].numpy(), down[i], right[i], flip[i], padding) for i in range(6)]
    assert crops.dtype == torch.uint8
    assert crops.shape == images.shape
    assert crops.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(crops.numpy(), np.stack(one_by_one))


@SETTINGS
@given(st.data(), st.integers(0, 3), st.sampled_from([(1, 8, 8), (3, 5, 7), (2, 1, 3)]))
def test_what_is_written_back_is_what_the_crop_showed(data, padding, shape):
    """Pixels outside the crop stay; those of padding are lost; a crop of nothing new changes nothing."""
    images = split(4, shape).images.float()
    offsets = st.lists(st.integers(0, 2 * padding), min_size=4, max_size=4)
    down, right = torch.tensor(data.draw(offsets)), torch.tensor(data.draw(offsets))
    flip = torch.tensor(data.draw(st.lists(st.booleans(), min_size=4, max_size=4)))
    augmentation = Augmentation(down, right, flip, padding)
    shown = augmentation.apply(torch.ones_like(images))
    assert torch.equal(augmentation.write_back(augmentation.apply(images), images), images)
    new = torch.rand(images.shape) + 300
    written = augmentation.write_back(new, images)
    assert torch.equal(augmentation.apply(written), new * shown)
    hidden = augmentation.write_back(torch.ones_like(images), torch.zeros_like(images)) == 0
    assert torch.equal(written[hidden], images[hidden])
    assert bool((written[~hidden] >= 300).all())


def counts_of_a_dot(spec, n=5000):
    """How often a dot at row 4, column 2 of an 8 x 8 image comes to each pixel: (8, 8) counts."""
    dot = torch.zeros(n, 1, 8, 8, dtype=torch.uint8)
    dot[:, :, 4, 2] = 255
    part = Split(dot, torch.zeros(n, dtype=torch.int64), torch.arange(n))
    return torch.cat([batch.images for batch in epoch_of(part, spec, batch=50)]).sum((0, 1))


def about_equal(counts, n):
    share = n / counts.numel()
    return bool((counts - share).abs().max() < 5 * share**0.5)


def test_digits_move_by_up_to_one_pixel_and_half_of_the_cifar10_images_are_flipped():
    assert (DIGITS.flip, CIFAR.crop_padding, CIFAR.flip) == (False, 4, True)
    digits, cifar = counts_of_a_dot(DIGITS), counts_of_a_dot(replace(CIFAR, crop_padding=1))
    assert about_equal(digits[3:6, 1:4], 5000)
    assert digits.sum() == digits[3:6, 1:4].sum() == 5000
    assert about_equal(torch.stack([cifar[3:6, 1:4], cifar[3:6, 4:7]]), 5000)
    assert cifar.sum() == cifar[3:6, 1:7].sum() == 5000
