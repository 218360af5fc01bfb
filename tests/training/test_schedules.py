"""Learning rates against PyTorch's schedulers and by their shape."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robust_tickets.settings import Training
from robust_tickets.training import learning_rate


def test_step_schedule_is_multi_step_lr():
    settings = Training(lr=0.1, schedule="step")
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones=[50, 75], gamma=0.1)
    for step in range(100):
        assert learning_rate(settings, step, 100) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()


def test_warm_up_is_linear_and_ends_at_lr():
    settings = Training(lr=0.1, warmup=0.1, warmup_lr=0.01)
    rates = [learning_rate(settings, step, 100) for step in range(12)]
    assert rates[0] == 0.01
    assert rates[10] == rates[11] == 0.1
    steps = [b - a for a, b in itertools.pairwise(rates[:11])]
    assert steps == pytest.approx([0.009] * 10)


@given(st.integers(1, 40), st.sampled_from(["step", "constant"]), st.sampled_from([0.0, 0.1, 0.25]))
def test_a_longer_schedule_has_the_same_shape(scale, schedule, warmup):
    settings = Training(lr=0.1, schedule=schedule, warmup=warmup, warmup_lr=0.01 if warmup else 0.0)
    for step in range(20):
        short = learning_rate(settings, step, 20)
        assert learning_rate(settings, step * scale, 20 * scale) == pytest.approx(short)


def test_constant_is_constant():
    assert {learning_rate(Training(lr=0.3, schedule="constant"), step, 50) for step in range(50)} == {0.3}
