"""Learning rates against PyTorch's schedulers and by their shape."""

import itertools
import math
from fractions import Fraction
from typing import get_args

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from robust_tickets.recipe.training_fields import Schedule, Training
from robust_tickets.training.schedules import learning_rate

SCHEDULES = get_args(Schedule)
STEPS = 120


def rates(settings, steps=STEPS):
    return [learning_rate(settings, step, steps) for step in range(steps)]


def by_torch(make, steps=STEPS):
    """The rates of a scheduler of PyTorch's that `make` makes of an optimiser."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = make(optimiser)
    lrs = []
    for _ in range(steps):
        lrs.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return pytest.approx(lrs, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("shares", "steps"),
    [((0.5, 0.75), [60, 90]), ((1 / 3, 2 / 3, 0.9), [40, 80, 108]), ((0.1,), [12]), ((0.996,), [])],
)
def test_step_is_multi_step_lr(shares, steps):
    expected = by_torch(lambda optimiser: lr_scheduler.MultiStepLR(optimiser, steps, gamma=0.1))
    assert rates(Training(lr=0.1, schedule="step", milestones=shares)) == expected


@pytest.mark.parametrize("warm", [0, 30])
def test_cosine_after_any_warm_up_is_cosine_annealing_lr(warm):
    steps = STEPS - warm
    expected = by_torch(lambda optimiser: lr_scheduler.CosineAnnealingLR(optimiser, steps), steps)
    assert rates(Training(lr=0.1, schedule="cosine", warmup=warm / STEPS))[warm:] == expected


@pytest.mark.parametrize(("warmup", "up"), [(0.0, 60), (0.25, 30), (0.4, 48)])
def test_cyclic_is_cyclic_lr(warmup, up):
    expected = by_torch(
        lambda optimiser: lr_scheduler.CyclicLR(
            optimiser, base_lr=0.0, max_lr=0.1, step_size_up=up, step_size_down=STEPS - up,
            mode="triangular", cycle_momentum=False,
        )
    )  # fmt: skip
    assert rates(Training(lr=0.1, schedule="cyclic", warmup=warmup)) == expected


@pytest.mark.parametrize(("warmup", "low", "peak"), [(0.0, 0.0, 36), (0.3, 0.004, 36), (0.45, 0.01, 54)])
def test_one_cycle_is_one_cycle_lr(warmup, low, peak):
    """That of torch ends one step before its last, and peaks one before its share."""
    expected = by_torch(
        lambda optimiser: lr_scheduler.OneCycleLR(
            optimiser, max_lr=0.1, total_steps=STEPS + 1, pct_start=(peak + 1) / (STEPS + 1),
            div_factor=0.1 / max(low, 1e-15), final_div_factor=1e15, cycle_momentum=False,
        )
    )  # fmt: skip
    assert rates(Training(lr=0.1, schedule="one-cycle", warmup=warmup, warmup_lr=low)) == expected


def test_constant_is_constant():
    assert set(rates(Training(lr=0.3, schedule="constant"))) == {0.3}


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "one-cycle"])
@pytest.mark.parametrize("low", [0.0, 0.01])
@pytest.mark.parametrize(
    ("share", "warm", "steps"),
    [(0.1, 12, STEPS), (0.25, 30, STEPS), (0.45, 54, STEPS), (0.07, 7, 100)],  # 0.07 * 100 is more than 7
)
def test_warm_up_is_linear_and_ends_at_lr(schedule, low, share, warm, steps):
    lrs = rates(Training(lr=0.1, schedule=schedule, warmup=share, warmup_lr=low), steps)
    assert lrs[0] == low
    rises = [b - a for a, b in itertools.pairwise(lrs[: warm + 1])]
    assert rises == pytest.approx([(0.1 - low) / warm] * warm)
    assert lrs[warm] == pytest.approx(0.1, rel=1e-12)
    assert max(lrs) <= 0.1 * (1 + 1e-12)
    assert lrs[warm + 1] <= lrs[warm] * (1 + 1e-12)


@given(
    st.integers(1, 40),
    st.sampled_from(SCHEDULES),
    st.sampled_from([0.0, 0.1, 1 / 3, 0.45]),
    st.sampled_from([(0.5, 0.75), (0.1,), (1 / 3, 2 / 3, 0.9)]),
)
def test_a_longer_schedule_has_the_same_shape(scale, schedule, warmup, milestones):
    settings = Training(
        lr=0.1, schedule=schedule, milestones=milestones, warmup=warmup, warmup_lr=0.01 if warmup else 0.0
    )
    for step in range(30):
        short = learning_rate(settings, step, 30)
        assert learning_rate(settings, step * scale, 30 * scale) == pytest.approx(short, abs=1e-15)


@given(st.fractions(Fraction(1, 99), Fraction(98, 99), max_denominator=99), st.integers(1, 40_000))
@example(Fraction(2, 3), 30_000)
@example(Fraction(1, 10), 30)
@example(Fraction(7, 100), 100)  # 0.07 * 100 is a little more than 7
@example(Fraction(29, 100), 100)  # and 0.29 * 100 a little less than 29
@example(Fraction(1, 2), 15)
def test_a_drop_falls_on_the_first_step_that_is_not_before_its_share(share, steps):
    settings = Training(lr=0.1, schedule="step", milestones=(float(share),))
    first = math.ceil(share * steps)
    assert learning_rate(settings, first - 1, steps) == 0.1
    assert learning_rate(settings, first, steps) == pytest.approx(0.01)
