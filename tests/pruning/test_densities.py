"""Layer densities of random masks, and where the weights lie."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.densities import DENSITIES, layer_counts, random_mask
from robust_tickets.pruning.mask import Mask

SHAPES = st.dictionaries(
    st.sampled_from("abcdef"),
    st.one_of(
        st.tuples(st.integers(4, 64), st.integers(4, 64)),
        st.tuples(st.integers(4, 64), st.integers(4, 64), st.just(3), st.just(3)),
    ),
    min_size=1,
)
PUBLISHED = {
    "uniform": lambda s: 1,
    "er": lambda s: 1 / s[0] + 1 / s[1],
    "erk": lambda s: (s[0] + s[1] + sum(s[2:])) / math.prod(s),
}


@settings(deadline=None, derandomize=True, database=None, max_examples=150)
@given(shapes=SHAPES, kind=st.sampled_from(sorted(DENSITIES)), density=st.floats(0.2, 1))
def test_counts_add_up_and_densities_have_the_published_ratio(shapes, kind, density):
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    count = round(density * sum(sizes.values()))
    counts = layer_counts(shapes, count, kind)
    assert sum(counts.values()) == count
    assert all(1 <= counts[name] <= size for name, size in sizes.items())
    published = {name: PUBLISHED[kind](shape) for name, shape in shapes.items()}
    partial = [name for name in shapes if counts[name] < sizes[name]]
    # one factor for all layers that are not whole, to the rounding of a count; whole ones would want more
    factors = [counts[name] / sizes[name] / published[name] for name in partial]
    slack = {name: 1.001 / sizes[name] / published[name] for name in shapes}
    for one, first in zip(partial, factors, strict=True):
        for other, second in zip(partial, factors, strict=True):
            assert abs(first - second) <= slack[one] + slack[other]
        for name in shapes.keys() - set(partial):
            assert first + slack[one] + slack[name] >= 1 / published[name]


def test_a_layer_that_would_get_nothing_is_named():
    with pytest.raises(InputError, match=r"densities uniform leave nothing of b: .* lower search.ratio"):
        layer_counts({"a": (100, 100), "b": (3, 3)}, 100, "uniform")


def test_positions_depend_on_the_seed_and_ignored_layers_stay_whole():
    full = Mask({name: torch.ones(30, 20, dtype=torch.bool) for name in "abc"})
    masks = [random_mask(full, 0.7, "uniform", seed, frozenset("b")) for seed in (0, 0, 1)]
    assert masks[0] == masks[1] != masks[2]
    assert [int(entries.sum()) for entries in masks[0].values()] == [180, 600, 180]
