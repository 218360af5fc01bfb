"""The losses of attacks, against the papers' formulas, one sample at a time."""

import pytest
import torch
from torch import Tensor

from attacks.losses import cross_entropy, dlr, margin, targeted_dlr

N, K = 50, 6


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(N, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def labels() -> Tensor:
    return torch.randint(K, (N,), generator=torch.Generator().manual_seed(1))


def others(row: list[float], label: int) -> list[float]:
    return [value for place, value in enumerate(row) if place != label]


def test_losses_are_their_formulas(logits, labels):
    for row, label, ce, cw, ratio in zip(
        logits.tolist(),
        labels.tolist(),
        cross_entropy(logits, labels),
        margin(logits, labels),
        dlr(logits, labels),
        strict=True,
    ):
        ordered = sorted(row, reverse=True)
        assert float(ce) == pytest.approx(float(torch.tensor(row).double().logsumexp(0)) - row[label])
        assert float(cw) == pytest.approx(max(others(row, label)) - row[label])
        # Croce & Hein 2020, equation 6
        expected = -(row[label] - max(others(row, label))) / (ordered[0] - ordered[2])
        assert float(ratio) == pytest.approx(expected)


def test_targeted_dlr_is_its_formula(logits, labels):
    targets = (labels + 1) % K
    for row, label, target, value in zip(
        logits.tolist(), labels.tolist(), targets.tolist(), targeted_dlr(logits, labels, targets), strict=True
    ):
        ordered = sorted(row, reverse=True)
        # Croce & Hein 2020, equation 7
        expected = -(row[label] - row[target]) / (ordered[0] - (ordered[2] + ordered[3]) / 2)
        assert float(value) == pytest.approx(expected)


def test_equal_logits_give_a_finite_loss_and_gradient(labels):
    flat = torch.zeros(N, K, dtype=torch.float64, requires_grad=True)
    dlr(flat, labels).sum().backward()
    assert flat.grad.isfinite().all()
