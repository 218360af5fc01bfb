"""The losses of attacks, against the papers' formulas, one sample at a time."""

import math

import pytest
import torch
from torch import Tensor

from robust_tickets.attacks.losses import cross_entropy, dlr, margin, targeted_dlr

N, K = 50, 6


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(N, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def labels() -> Tensor:
    return torch.randint(K, (N,), generator=torch.Generator().manual_seed(1))


def by_formula(row: list[float], label: int, target: int) -> list[float]:
    ordered = sorted(row, reverse=True)
    highest_other = max(value for place, value in enumerate(row) if place != label)
    return [
        math.log(sum(map(math.exp, row))) - row[label],
        highest_other - row[label],
        -(row[label] - highest_other) / (ordered[0] - ordered[2]),  # Croce & Hein 2020, equation 6
        -(row[label] - row[target]) / (ordered[0] - (ordered[2] + ordered[3]) / 2),  # equation 7
    ]


def test_losses_are_their_formulas(logits, labels):
    targets = (labels + 1) % K
    samples = zip(logits.tolist(), labels.tolist(), targets.tolist(), strict=True)
    expected = torch.tensor([by_formula(*sample) for sample in samples], dtype=torch.float64).T
    ours = [loss(logits, labels) for loss in (cross_entropy, margin, dlr)]
    torch.testing.assert_close(torch.stack([*ours, targeted_dlr(logits, labels, targets)]), expected)


def test_equal_logits_give_a_finite_loss_and_gradient(labels):
    flat = torch.zeros(N, K, dtype=torch.float64, requires_grad=True)
    dlr(flat, labels).sum().backward()
    assert flat.grad.isfinite().all()
