"""The L2 threat: its ball, its random start, its step."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from attacks import PGD, RunOptions, ThreatModel
from attacks.noise import in_unit_ball

EPS = 0.5
THREAT = ThreatModel("L2", EPS)
SHAPE = (3, 4, 4)
TYPES = [torch.float32, torch.float64]


def gray(n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Images so far from the edges that no clip to the box has an effect."""
    return torch.full((n, *SHAPE), 0.5, dtype=dtype)


def normal(n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(n), dtype=dtype)


def lengths(shift: Tensor) -> Tensor:
    return shift.double().square().flatten(1).sum(1).sqrt()


def test_projection_scales_to_eps_and_then_clips():
    x, c = torch.rand(20, *SHAPE, generator=torch.Generator().manual_seed(0)).double(), normal(20)
    shift = (c - x) * (EPS / lengths(c - x)).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(THREAT.project(c, x), (x + shift).clamp(0, 1), rtol=0, atol=1e-14)
    torch.testing.assert_close(lengths(THREAT.project(c, gray(20)) - 0.5), torch.full((20,), EPS).double())


def test_length_decides_and_not_pixels():
    direction = normal(1) / lengths(normal(1)).reshape(-1, 1, 1, 1)
    factors = torch.tensor([0.0, 0.5, 1.0, 1.001, 2.0], dtype=torch.float64)
    points = gray(5) + EPS * factors.reshape(-1, 1, 1, 1) * direction
    assert THREAT.allows(points, gray(5)).tolist() == [True, True, True, False, False]


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


@pytest.mark.parametrize("dtype", TYPES)
def test_random_start_is_the_noise_at_the_size_of_the_ball(dtype):
    start = THREAT.random_start(gray(50, dtype), torch.arange(50), seed=5, restart=1)
    noise = in_unit_ball(SHAPE, torch.arange(50), seed=5, stream=1)
    torch.testing.assert_close(start.double() - 0.5, EPS * noise, rtol=0, atol=torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e30])
def test_a_step_has_its_length_however_large_the_gradient(scale, dtype):
    """Squared in float32, the first and the last are 0 and infinity."""
    gradient = normal(5, dtype)
    moved = THREAT.ball(gray(5, dtype)).step(gray(5, dtype), gradient * scale, 0.1) - 0.5
    torch.testing.assert_close(lengths(moved), torch.full((5,), 0.1).double(), rtol=1e-5, atol=0)
    cosine = torch.cosine_similarity(moved.flatten(1).double(), gradient.flatten(1).double())
    torch.testing.assert_close(cosine, torch.ones_like(cosine), rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("slope", [0.0, float("nan")])
def test_a_gradient_that_is_zero_or_no_number_moves_nothing(slope, norm):
    slopes = normal(3)
    slopes[1] = slope
    labels = torch.ones(3, dtype=torch.int64)

    def net(x: Tensor) -> Tensor:  # for label 1 the gradient of the loss points along the slope
        return torch.stack([(x * slopes).flatten(1).sum(1), torch.zeros(len(x), dtype=x.dtype)], 1)

    attack = PGD(ThreatModel(norm, EPS), steps=3, random_start=False)
    adversarial = attack.run(
        net, gray(3), labels, options=RunOptions(check=False)
    ).images  # the check refuses the NaN logits
    assert [bool((a == 0.5).all()) for a in adversarial] == [False, True, False]
    assert adversarial.isfinite().all()
