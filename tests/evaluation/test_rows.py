"""A row: its accuracy and interval, its classes, and the worst case of several rows."""

import math
from statistics import NormalDist

import pytest
import torch

from robust_tickets.evaluation.result import RobustnessRow, worst_case


def row(robust: list[bool], name: str = "pgd-20", seconds: float = 1.0, **more: object) -> RobustnessRow:
    return RobustnessRow(name, torch.tensor(robust), seconds, 10, 7, **more)


def wilson(right: int, n: int) -> tuple[float, float]:
    """Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference", solved."""
    z, p = NormalDist().inv_cdf(0.975), right / n
    middle = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 40), (40, 40), (1, 40), (13, 40), (510, 1000)])
def test_the_interval_is_wilsons(right, n):
    result = row([True] * right + [False] * (n - right))
    assert result.accuracy == right / n
    assert result.interval == pytest.approx(wilson(right, n), abs=1e-12)
    assert 0 <= result.interval[0] <= result.accuracy <= result.interval[1] <= 1


def test_classes_are_counted_apart_and_one_without_images_is_nan():
    result = row([True, False, True, True, False]).by_class(torch.tensor([0, 0, 3, 3, 1]), 4)
    assert result[:2] == [0.5, 0.0]
    assert math.isnan(result[2])
    assert result[3] == 1.0
    assert len(result) == 4


def test_the_worst_case_is_robust_under_all_attacks_and_costs_add_up():
    rows = [
        RobustnessRow("clean", torch.tensor([True, True, True, False]), 1.0, 4, 0),
        RobustnessRow("fgsm", torch.tensor([True, False, True, False]), 2.0, 8, 3),
        RobustnessRow("square", torch.tensor([False, True, True, False]), 0.5, 70, 0, outside=1),
    ]
    worst = worst_case(rows)
    assert worst.robust.tolist() == [False, False, True, False]
    assert worst.attack == "worst-case(clean fgsm square)"
    assert (worst.seconds, worst.passes.forward, worst.passes.input_backward) == (3.5, 82, 3)


@pytest.mark.parametrize("n", [1, 3])
def test_the_worst_case_leaves_its_rows_as_they_were(n):
    rows = [row([True, True, False]), row([False, True, True]), row([False, False, False])][:n]
    before = [r.robust.clone() for r in rows]
    worst = worst_case(rows)
    assert n > 1 or torch.equal(worst.robust, rows[0].robust)
    worst.robust.fill_(True)
    assert all(torch.equal(r.robust, b) for r, b in zip(rows, before, strict=True))
