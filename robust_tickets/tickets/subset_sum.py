"""Subsets of random numbers whose sum is close to a wanted one."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

MOST = 28
"""Numbers of which a subset is sought, at most: time and memory grow with 2 to the half of them."""


def closest_subset(values: Numbers, wanted: float) -> NDArray[np.bool_]:
    """Which of the values (N,) are in a subset whose sum is closest to the wanted one; there is no closer
    one.

    Meet in the middle (Horowitz & Sahni 1974): all sums of one half, sorted, are searched for what each sum
    of the other half leaves. Raises ValueError for more than `MOST` values.
    """
    if len(values) > MOST:
        raise ValueError(f"{len(values)} values have too many subsets: at most {MOST}")
    half = len(values) // 2
    left, right = _sums(values[:half]), _sums(values[half:])
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    rest = wanted - left
    above = np.searchsorted(ordered, rest).clip(max=len(ordered) - 1)
    below = (above - 1).clip(min=0)
    errors = np.abs(np.stack([ordered[below] - rest, ordered[above] - rest]))
    which, place = np.unravel_index(int(errors.argmin()), errors.shape)
    other = order[(below, above)[which][place]]
    return np.concatenate([_bits(int(place), half), _bits(int(other), len(values) - half)])


def _sums(values: Numbers) -> Numbers:
    """The sums of all subsets; bit i of a place says whether value i is in it."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums, sums + value])
    return sums


def _bits(number: int, count: int) -> NDArray[np.bool_]:
    return np.array([bool(number >> i & 1) for i in range(count)], dtype=bool)
