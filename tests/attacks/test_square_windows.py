"""Square's start in L2, and the windows that it changes."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from robust_tickets.attacks.noise import uniform
from robust_tickets.attacks.square import Square, window_share
from robust_tickets.attacks.windows import L2Windows, LinfWindows, bumps


def every(numbers: list[float], n: int = 1):
    """Draws these numbers for each of n samples, and fails where a window needs another count of them."""

    def draw(size: int) -> Tensor:
        assert size == len(numbers)
        return torch.tensor(numbers, dtype=torch.float64).expand(n, -1)

    return draw


@pytest.mark.parametrize(
    ("height", "width", "side"),
    [(32, 32, 6), (28, 28, 5), (8, 8, 1), (10, 10, 2), (9, 12, 1), (12, 21, 2), (3, 4, 1), (1, 1, 1)],
)
def test_the_start_in_l2_is_tiles_of_bumps(height, width, side):
    eps, images = 0.4, torch.full((6, 2, height, width), 0.5, dtype=torch.float64)

    def draw(size: int) -> Tensor:
        return uniform((size,), torch.arange(6), seed=0)

    start = L2Windows(images, eps).start(images, draw) - images
    torch.testing.assert_close(start.flatten(1).norm(dim=1), torch.full((6,), eps, dtype=torch.float64))
    down, across = height // side, width // side
    top, left = (height - down * side) // 2, (width - across * side) // 2
    bump = bumps(side) * eps / math.sqrt(2 * down * across)
    kinds = set()
    covered = torch.zeros_like(start)
    for i, c, row, column in itertools.product(range(6), range(2), range(down), range(across)):
        rows = slice(top + row * side, top + (row + 1) * side)
        columns = slice(left + column * side, left + (column + 1) * side)
        tile = start[i, c, rows, columns]
        options = [sign * shape for shape in (bump, bump.T) for sign in (1, -1)]
        fits = [k for k, option in enumerate(options) if torch.allclose(tile, option, rtol=0, atol=1e-14)]
        assert fits
        kinds.update(fits)
        covered[i, c, rows, columns] = 1
    assert not start[covered == 0].any()
    if down * across >= 25:
        assert kinds == {0, 1, 2, 3}


LAST_BEFORE_HALVING = [11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001]


def test_windows_shrink_on_the_published_schedule():
    """Query 1 is the reference's iteration 0; it halves where the iteration is above 10, 50, ..."""
    assert window_share(0.8, 1) == 0.8
    for halvings, query in enumerate(LAST_BEFORE_HALVING):
        assert window_share(0.8, query) == 0.8 / 2**halvings
        assert window_share(0.8, query + 1) == 0.8 / 2 ** (halvings + 1)
    assert window_share(0.8, 50_000) == 0.8 / 512


@pytest.mark.parametrize(
    ("shape", "share_of_image", "linf", "l2"),
    [
        ((3, 32, 32), 0.8, 29, 29),  # 28.62
        ((3, 32, 32), 0.4, 20, 21),  # 20.24
        ((3, 32, 32), 0.00625, 3, 3),  # 2.53
        ((3, 32, 32), 0.0015625, 1, 3),  # 1.26
        ((3, 224, 224), 0.8, 200, 201),  # 200.35
        ((1, 8, 8), 0.0015625, 1, 3),  # 0.32
        ((1, 8, 8), 1.0, 8, 8),  # 9 would not fit
        ((3, 5, 20), 0.8, 5, 5),  # 8.94
        ((3, 20, 5), 0.8, 5, 5),
        ((1, 2, 9), 0.8, 2, 2),
        ((2, 1, 6), 0.001, 1, 1),
    ],
)
def test_sides_are_the_published_ones(shape, share_of_image, linf, l2):
    images = torch.zeros(1, *shape)
    assert LinfWindows(images, 0.1).side(share_of_image) == linf
    assert L2Windows(images, 0.1).side(share_of_image) == l2


LAST = 1 - 2.0**-32


@pytest.mark.parametrize(
    ("vertical", "horizontal", "top", "left"),
    [(0.0, 0.0, 0, 0), (LAST, LAST, 3, 5), (0.3, 0.7, 1, 4), (0.25, LAST, 1, 5), (0.2499, 0.0, 0, 0)],
)
def test_a_change_in_linf_is_a_square_at_the_edge(vertical, horizontal, top, left):
    images = torch.rand(1, 3, 7, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    best = images + 0.01
    changed = LinfWindows(images, 0.1).change(images, best, 4, every([vertical, horizontal, 0.2, 0.5, 0.7]))
    expected = best.clone()
    for channel, sign in enumerate((-1, 1, 1)):
        window = (0, channel, slice(top, top + 4), slice(left, left + 4))
        expected[window] = images[window] + sign * 0.1
    assert torch.equal(changed, expected)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("full", [True, False], ids=["full ball", "mass left"])
@pytest.mark.parametrize(
    ("first", "second"),
    [((0, 0), (4, 6)), ((4, 6), (0, 0)), ((1, 2), (2, 3)), ((2, 2), (2, 2))],
    ids=["apart", "apart too", "overlapping", "the same"],
)
def test_a_change_in_l2_is_algorithm_3(first, second, full, turned):
    """Window by window and channel by channel, as it is published."""
    eps, side, signs = 0.5, 3, (1, -1)
    generator = torch.Generator().manual_seed(3)
    images = torch.full((1, 2, 7, 9), 0.5, dtype=torch.float64)
    shift = torch.randn(2, 7, 9, generator=generator, dtype=torch.float64)
    shift *= (eps if full else eps / 2) / shift.norm()
    at = [(place + 0.5) / room for corner in (first, second) for place, room in zip(corner, (5, 7))]  # noqa: B905
    numbers = [*at, 0.3 if turned else 0.7, *(0.9 if sign == 1 else 0.1 for sign in signs)]

    one, two = (torch.zeros(7, 9, dtype=torch.bool) for _ in range(2))
    for mask, (top, left) in ((one, first), (two, second)):
        mask[top : top + side, left : left + side] = True
    expected = shift.clone()
    for c in range(2):
        left_over = max(eps**2 - float(shift.square().sum()), 0) / 2
        mass = left_over + float(shift[c][one | two].square().sum())
        eta = bumps(side).T if turned else bumps(side)
        new = signs[c] * eta.flatten() + shift[c][one] / shift[c][one].norm()
        expected[c][two] = 0
        expected[c][one] = new / new.norm() * math.sqrt(mass)
    changed = L2Windows(images, eps).change(images, images + shift, side, every(numbers)) - images
    torch.testing.assert_close(changed[0], expected, rtol=0, atol=1e-14)
    assert float(changed.norm()) == pytest.approx(eps, rel=1e-12)


def test_bumps_are_the_published_ones():
    """Section 3.3: the sum of 1 / (k + 1)^2 over the rings, each half at the same length, turned round."""
    a, b = 1 + 1 / 4, 1 / 4  # upper half of 3: one row of three pixels, the middle one in both rings
    upper = torch.tensor([[b, a, b]], dtype=torch.float64)
    # The middle of two rows is the second one.
    lower = torch.tensor([[b, b, b], [b, a, b]], dtype=torch.float64)
    expected = torch.cat([upper / upper.norm(), -lower / lower.norm()]) / math.sqrt(2)
    torch.testing.assert_close(bumps(3), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 1, 1), (3, 2, 9), (2, 12, 3), (1, 4, 4), (3, 1, 5)])
def test_images_of_any_shape_are_attacked(shape, threat):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(6, *shape, generator=generator)
    weights = torch.randn(images[0].numel(), 4, generator=generator)
    result = Square(threat, queries=30).run(lambda x: x.flatten(1) @ weights, images, torch.arange(6) % 4)
    assert result.images.dtype == torch.float32
    assert threat.allows(result.images, images).all()
    moved = (result.images != images).flatten(1).any(1)
    assert moved.all()
