"""Random numbers that belong to a sample."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robust_tickets.attacks.noise import in_unit_ball, uniform

laws = settings(max_examples=60, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**64 - 1)
ids = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=8)
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


def by_hand(shape: tuple[int, ...], sample_id: int, seed: int, stream: int) -> np.ndarray:
    """The published finaliser on Python's integers, which do not overflow."""
    word = 2**32 - 1

    def mix(x: int) -> int:
        x ^= x >> 16
        x = x * 0x7FEB352D & word
        x ^= x >> 15
        x = x * 0x846CA68B & word
        return x ^ x >> 16

    golden, key = 0x9E3779B9, 0
    for part in (seed & word, seed >> 32 & word, stream & word):
        key = mix(key + part + golden & word)
    first = mix(sample_id + key & word)
    second = mix((first ^ sample_id >> 32 ^ key * 3) & word)
    numbers = [mix(mix(i * golden + first & word) ^ second) for i in range(int(np.prod(shape)))]
    return np.array(numbers, dtype=np.float64).reshape(shape) / 2**32


@laws
@given(shapes, ids, seeds, st.integers(0, 2**32 - 1))
def test_numbers_are_a_hash_of_seed_id_stream_and_place(shape, ids, seed, stream):
    drawn = uniform(shape, torch.tensor(ids), seed=seed, stream=stream)
    assert drawn.dtype == torch.float64
    hand = np.stack([by_hand(shape, i, seed, stream) for i in ids])
    np.testing.assert_array_equal(drawn.numpy(), hand)


def test_no_two_draws_share_their_numbers():
    """Half a million rows: keys of 32 bits would collide about 29 times."""
    sample_ids = torch.cat([torch.arange(5_000), 2**32 + torch.arange(5_000)])
    draws = itertools.product([*range(10), 2**32, 2**32 + 1, -1], range(4))
    rows = [uniform((3,), sample_ids, seed=s, stream=r) for s, r in draws]
    everything = torch.cat(rows).numpy()
    assert len(np.unique(everything, axis=0)) == len(everything)


AXES = {
    "places of one sample": lambda n: uniform((n,), torch.tensor([5]), seed=0),
    "neighbouring ids": lambda n: uniform((1,), torch.arange(n), seed=0),
    "distant ids": lambda n: uniform((1,), torch.arange(n) << 32, seed=0),
    "seeds": lambda n: torch.cat([uniform((4,), torch.tensor([1]), seed=s) for s in range(n // 4)]),
    "restarts": lambda n: torch.cat(
        [uniform((4,), torch.tensor([1]), seed=0, stream=s) for s in range(n // 4)]
    ),
}


@pytest.mark.parametrize("axis", AXES)
def test_numbers_are_uniform_along_every_axis(axis):
    numbers = AXES[axis](4_000).flatten().numpy()
    assert stats.kstest(numbers, "uniform").pvalue > 0.01


OTHERS = {
    "next id": {"sample_ids": torch.arange(1, 501)},
    "id beyond 32 bits": {"sample_ids": torch.arange(500) + 2**32},
    "seed": {"seed": 1},
    "seed beyond 32 bits": {"seed": 2**32},
    "stream": {"stream": 1},
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_another_id_seed_or_stream_gives_unrelated_numbers(change):
    base = {"sample_ids": torch.arange(500), "seed": 0, "stream": 0}
    one, other = (uniform((20,), **arguments).flatten().numpy() for arguments in (base, base | change))
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(len(one))
    assert stats.kstest((one - other) % 1, "uniform").pvalue > 0.01


@pytest.mark.parametrize("size", [1, 2, 3, 48])
def test_noise_is_uniform_in_the_unit_ball(size):
    """The radius to the power d is uniform, and each coordinate follows its Beta law."""
    points = in_unit_ball((size,), torch.arange(4_000), seed=3).numpy()
    radii = np.linalg.norm(points, axis=1)
    assert stats.kstest(radii**size, "uniform").pvalue > 0.01
    assert abs((radii**size).mean() - 0.5) < 4 / math.sqrt(12 * 4_000)
    half = (size + 1) / 2
    for coordinate in points.T[:3]:
        assert stats.kstest((coordinate + 1) / 2, stats.beta(half, half).cdf).pvalue > 0.01


def test_noise_has_no_favoured_direction_and_none_depends_on_the_radius():
    points = in_unit_ball((6,), torch.arange(20_000), seed=1).numpy()
    np.testing.assert_allclose(
        points.T @ points / 20_000, np.eye(6) / 8, atol=4 / 8 / math.sqrt(20_000) * 1.5
    )
    radii = np.linalg.norm(points, axis=1, keepdims=True)
    between = np.corrcoef((points / radii).T, radii.T)[:6, 6]
    assert np.abs(between).max() < 4 / math.sqrt(20_000)
