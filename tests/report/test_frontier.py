"""The Pareto front against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_tickets.report.frontier import dominator, front, times_on_front

# few values, so that ties of cost, of accuracy and of both are frequent
VALUES = st.tuples(st.integers(1, 5).map(float), st.integers(0, 4).map(lambda n: n / 4))
POINTS = st.lists(VALUES, min_size=1, max_size=9)


def dominance(points):
    """Whether point i dominates point j, for all pairs: the definition, by numpy."""
    cost, accuracy = np.array(points).T
    no_worse = (cost[:, None] <= cost) & (accuracy[:, None] >= accuracy)
    better = (cost[:, None] < cost) | (accuracy[:, None] > accuracy)
    return no_worse & better


@settings(deadline=None, derandomize=True, database=None, max_examples=100)
@given(points=POINTS)
def test_the_front_is_what_nothing_dominates(points):
    by_name = {f"arm-{i}": point for i, point in enumerate(points)}
    names = front(by_name)
    assert set(names) == {f"arm-{i}" for i in np.flatnonzero(~dominance(points).any(axis=0))}
    costs = [by_name[name][0] for name in names]
    assert costs == sorted(costs)


@settings(deadline=None, derandomize=True, database=None, max_examples=100)
@given(points=POINTS)
def test_a_dominated_point_is_told_the_cheapest_of_the_front_that_dominates_it(points):
    by_name = {f"arm-{i}": point for i, point in enumerate(points)}
    dominates = dominance(points)
    on_front = ~dominates.any(axis=0)
    for i in range(len(points)):
        name = dominator(by_name, f"arm-{i}")
        better = np.flatnonzero(dominates[:, i] & on_front)
        if len(better) == 0:
            assert name == ""
        else:
            chosen = int(name.removeprefix("arm-"))
            assert chosen in better
            assert points[chosen][0] == min(points[j][0] for j in better)


@pytest.mark.parametrize(
    ("points", "names"),
    [
        ({"a": (1, 0.5)}, ["a"]),
        ({"a": (1, 0.5), "b": (1, 0.5)}, ["a", "b"]),
        ({"a": (1, 0.5), "b": (1, 0.4)}, ["a"]),
        ({"a": (2, 0.5), "b": (1, 0.5)}, ["b"]),
        ({"a": (2, 0.6), "b": (1, 0.5), "c": (3, 0.6), "d": (1, 0.5)}, ["b", "d", "a"]),
        ({}, []),
    ],
)
def test_ties_and_single_points(points, names):
    assert front(points) == names


def test_how_often_an_arm_is_on_the_front():
    seeds = [
        {"a": (1, 0.5), "b": (2, 0.6), "c": (3, 0.4)},
        {"a": (1, 0.5), "b": (2, 0.4), "c": (3, 0.6)},
        {"a": (1, 0.7), "b": (2, 0.4), "c": (3, 0.6)},
    ]
    assert times_on_front(seeds) == {"a": 3, "b": 1, "c": 1}
