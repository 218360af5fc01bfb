"""The ball and the box."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from robust_tickets.attacks import ThreatModel
from robust_tickets.attacks.noise import in_unit_ball, uniform

laws = settings(max_examples=100, deadline=None, derandomize=True, database=None)
NORMS = ["Linf", "L2"]
BOUNDS = [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)]
SHAPE = (3, 2, 2, 2)


@st.composite
def cases(
    draw, bounds: list[tuple[float, float]] = BOUNDS, norms: list[str] = NORMS
) -> tuple[ThreatModel, Tensor, Tensor]:
    """A threat, images in its box and candidates anywhere around the box, of one float type."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    low, high = draw(st.sampled_from(bounds))
    width = 32 if dtype is np.float32 else 64
    images = draw(arrays(dtype, SHAPE, elements=st.floats(low, high, width=width)))
    wide = st.floats(low - 3 * (high - low), high + 3 * (high - low), width=width)
    candidates = draw(arrays(dtype, SHAPE, elements=wide))
    eps = draw(st.floats(1e-4, 1.0)) * (high - low)
    threat = ThreatModel(draw(st.sampled_from(norms)), eps, (low, high))
    return threat, torch.tensor(images), torch.tensor(candidates)


def rounding(threat: ThreatModel, like: Tensor) -> float:
    """The length that one rounding of image + eps in each pixel can add to the perturbation."""
    pixels = 1 if threat.norm == "Linf" else like[0].numel()
    return torch.finfo(like.dtype).eps * (max(map(abs, threat.bounds)) + threat.eps) * pixels**0.5


def length(shift: Tensor, norm: str) -> Tensor:
    """NumPy's norm of each sample's perturbation."""
    order = {"Linf": np.inf, "L2": 2}[norm]
    return torch.tensor([np.linalg.norm(s.flatten(), order) for s in shift.double().numpy()])


def assert_inside(points: Tensor, threat: ThreatModel, images: Tensor) -> None:
    low, high = threat.bounds
    assert points.dtype == images.dtype
    assert float(points.min()) >= low
    assert float(points.max()) <= high
    lengths = length(points.double() - images.double(), threat.norm)
    assert float(lengths.max()) <= threat.eps + rounding(threat, images)


@laws
@given(cases())
def test_projection_is_allowed_and_idempotent_and_leaves_its_arguments_alone(case):
    threat, images, candidates = case
    before = images.clone(), candidates.clone()
    once = threat.project(candidates, images)
    assert_inside(once, threat, images)
    assert threat.allows(once, images).all()
    tolerance = 0 if threat.norm == "Linf" else 2 * rounding(threat, images)
    torch.testing.assert_close(threat.project(once, images), once, rtol=0, atol=tolerance)
    assert torch.equal(images, before[0])
    assert torch.equal(candidates, before[1])


@laws
@given(cases(norms=["Linf"]))
def test_projection_on_linf_is_the_nearest_allowed_point(case):
    threat, images, candidates = case
    low, high = threat.bounds
    x, c = images.double().numpy(), candidates.double().numpy()
    nearest = np.clip(c, np.maximum(x - threat.eps, low), np.minimum(x + threat.eps, high))
    projected = threat.project(candidates, images).double().numpy()
    np.testing.assert_allclose(projected, nearest, rtol=0, atol=rounding(threat, images))


@laws
@given(cases())
def test_projection_moves_no_point_that_lies_inside(case):
    threat, images, candidates = case
    edge = threat.eps if threat.norm == "Linf" else threat.eps / images[0].numel() ** 0.5
    shift = 0.99 * edge - 2 * rounding(threat, images)
    points = candidates.clamp(images - shift, images + shift).clamp(*threat.bounds)
    assert torch.equal(threat.project(points, images), points)
    assert torch.equal(threat.project(images, images), images)


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize("norm", NORMS)
def test_one_pixel_outside_the_ball_is_not_allowed(norm, bounds, sign, row):
    low, high = bounds
    threat = ThreatModel(norm, (high - low) / 50, bounds)
    images = torch.full(SHAPE, (low + high) / 2)
    points = images.clone()
    points[row, 1, 0, 1] += sign * threat.eps * 1.001
    assert threat.allows(points, images).tolist() == [i != row for i in range(3)]


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("sign", [-1, 1])
def test_one_pixel_outside_the_box_is_not_allowed(bounds, sign):
    low, high = bounds
    threat = ThreatModel("Linf", (high - low) / 2, bounds)
    images = torch.full(SHAPE, low if sign < 0 else high)
    points = images.clone()
    points[1, 0, 0, 0] += sign * 0.01
    assert threat.allows(points, images).tolist() == [True, False, True]


@laws
@given(cases(), st.integers(0, 2**63 - 1), st.integers(0, 9), st.permutations(range(3)), st.integers(1, 3))
def test_random_start_is_allowed_and_does_not_depend_on_the_batch(case, seed, restart, order, size):
    threat, images, _ = case
    ids = torch.tensor([7, 123, 2**40 + 5])
    whole = threat.random_start(images, ids, seed=seed, restart=restart)
    assert_inside(whole, threat, images)
    assert threat.allows(whole, images).all()
    rows = torch.tensor(order[:size])
    part = threat.random_start(images[rows], ids[rows], seed=seed, restart=restart)
    tolerance = 0 if threat.norm == "Linf" else rounding(threat, images)
    torch.testing.assert_close(part, whole[rows], rtol=0, atol=tolerance)


@pytest.mark.parametrize("norm", NORMS)
def test_random_start_moves_with_seed_and_restart(norm):
    threat, images, ids = ThreatModel(norm, 0.1), torch.full(SHAPE, 0.5), torch.arange(3)
    starts = [threat.random_start(images, ids, seed=s, restart=r) for s in (0, 1) for r in (0, 1)]
    for i, one in enumerate(starts):
        for other in starts[:i]:
            assert (one != other).double().mean() > 0.9


L2, IMAGE = ThreatModel("L2", 0.5), (3, 4, 4)


def gray(n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Images so far from the edges that no clip to the box has an effect."""
    return torch.full((n, *IMAGE), 0.5, dtype=dtype)


def normal(n: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, *IMAGE, generator=torch.Generator().manual_seed(n), dtype=dtype)


def lengths(shift: Tensor) -> Tensor:
    return shift.double().square().flatten(1).sum(1).sqrt()


def test_projection_in_l2_scales_to_eps_and_then_clips():
    x, c = torch.rand(20, *IMAGE, generator=torch.Generator().manual_seed(0)).double(), normal(20)
    shift = (c - x) * (L2.eps / lengths(c - x)).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(L2.project(c, x), (x + shift).clamp(0, 1), rtol=0, atol=1e-14)
    torch.testing.assert_close(lengths(L2.project(c, gray(20)) - 0.5), torch.full((20,), L2.eps).double())


def test_in_l2_the_length_decides_and_not_pixels():
    direction = normal(1) / lengths(normal(1)).reshape(-1, 1, 1, 1)
    factors = torch.tensor([0.0, 0.5, 1.0, 1.001, 2.0], dtype=torch.float64)
    points = gray(5) + L2.eps * factors.reshape(-1, 1, 1, 1) * direction
    assert L2.allows(points, gray(5)).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_random_start_is_uniform_noise_at_the_size_of_the_ball(dtype, norm):
    threat, numbers = ThreatModel(norm, 0.4), (IMAGE, torch.arange(50))
    start = threat.random_start(gray(50, dtype), torch.arange(50), seed=5, restart=1)
    cube, ball = 2 * uniform(*numbers, seed=5, stream=1) - 1, in_unit_ball(*numbers, seed=5, stream=1)
    noise = 0.4 * {"Linf": cube, "L2": ball}[norm]
    torch.testing.assert_close(start.double() - 0.5, noise, rtol=0, atol=torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e30])
def test_a_step_in_l2_has_its_length_however_large_the_gradient(scale, dtype):
    """Squared in float32, the first and the last are 0 and infinity."""
    gradient = normal(5, dtype)
    moved = L2.ball(gray(5, dtype)).step(gray(5, dtype), gradient * scale, 0.1) - 0.5
    torch.testing.assert_close(lengths(moved), torch.full((5,), 0.1).double(), rtol=1e-5, atol=0)
    cosine = torch.cosine_similarity(moved.flatten(1).double(), gradient.flatten(1).double())
    torch.testing.assert_close(cosine, torch.ones_like(cosine), rtol=0, atol=1e-6)
