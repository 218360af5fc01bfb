"""Every field of the recipe, by its type: it is recorded, it reads back equal, and its range is checked."""

import dataclasses
import functools
import tomllib
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_fields import BASES, LEAVES, PATHS, another, nested, plain_type, replace_field

from robust_tickets.base.errors import InputError
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe import schema
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.recipe import Recipe

SETTINGS = settings(deadline=None, derandomize=True, database=None, max_examples=60)
NOT_RECORDED = {"summary", "data.root", "data.download"}
NUMBERS = [
    (path, get_args(hint)[0], bounds)
    for path, hint, _ in LEAVES
    if get_origin(hint) is Annotated
    for bounds in get_args(hint)[1:]
    if isinstance(bounds, schema.Range)
]


def test_the_walk_reaches_every_kind_of_field():
    assert {"name", "data.root", "threat.eps", "search.pgd.steps", "compare.arms"} <= set(PATHS)
    assert len(set(PATHS)) == len(LEAVES) >= 40


def test_every_number_has_bounds():
    bounded = {path for path, _, _ in NUMBERS}
    numbers = {path for path, hint, _ in LEAVES if plain_type(hint) in (int, float)}
    assert numbers - bounded == {"search.fc_ratio", "search.output_ratio"}, "these may be None"


def is_change(base, other):
    """Whether a recipe is valid and differs from another."""
    try:
        recipes.check(other)
    except InputError:
        return False
    return other != base


@pytest.mark.parametrize(("path", "hint", "value"), LEAVES, ids=PATHS)
def test_the_identity_changes_with_every_recorded_field_and_no_other(path, hint, value):
    pairs = [
        (base, replace_field(base, path, another(hint, functools.reduce(getattr, path.split("."), base))))
        for base in BASES
    ]
    base, other = next(pair for pair in pairs if is_change(*pair))
    if path in NOT_RECORDED or path.startswith("study."):
        assert other.identity == base.identity
        assert recipes.to_toml(other) == recipes.to_toml(base)
    else:
        assert other.identity != base.identity
        assert recipes.to_table(other) != recipes.to_table(base)


@SETTINGS
@given(
    lr=st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False),
    ratio=st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True),
    epochs=st.integers(1, 10**9),
    eps=st.integers(1, 255),
    start=st.booleans(),
    arms=st.permutations(["dense", "dense-short", "ticket"]),
)
def test_any_valid_values_read_back_equal(lr, ratio, epochs, eps, start, arms):
    table = {
        "threat": {"eps": f"{eps}/255"},
        "search": {"lr": lr, "ratio": ratio, "epochs": epochs, "pgd": {"random_start": start}},
        "compare": {"arms": arms},
    }
    recipe = recipes.from_table(table)
    assert (recipe.search.lr, recipe.search.ratio, recipe.search.epochs) == (lr, ratio, epochs)
    assert (recipe.threat.eps.text, recipe.search.pgd.random_start) == (f"{eps}/255", start)
    assert recipe.compare.arms == tuple(arms)
    record = tomllib.loads(recipes.to_toml(recipe))
    assert record.pop("format") == recipes.FORMAT
    assert recipes.from_table(record) == recipe


def test_no_path_is_recorded():
    path = Path("/home/somebody/secret")
    recipe = replace_field(BASES[0], "data.root", path)
    assert "secret" not in recipes.to_toml(recipe)
    assert "root" not in recipes.to_table(recipe)["data"]
    assert recipe.data.root == path, "the recipe itself keeps it"


@pytest.mark.parametrize(("path", "kind", "bounds"), NUMBERS, ids=[path for path, _, _ in NUMBERS])
def test_a_bounded_field_accepts_exactly_its_range(path, kind, bounds):
    step = 1 if kind is int else 1e-9
    inside = [kind(b) for b in (bounds.least, bounds.most) if abs(b) < float("inf")]
    inside += [kind(b + s) for b, s in ((bounds.above, step), (bounds.below, -step)) if abs(b) < float("inf")]
    outside = [kind(b) for b in (bounds.above, bounds.below) if abs(b) < float("inf")]
    outside += [kind(b + s) for b, s in ((bounds.least, -step), (bounds.most, step)) if abs(b) < float("inf")]
    assert outside
    for value in inside:
        schema.read(Recipe, nested(path, value))
    for value in [*outside, *([float("nan"), float("inf"), -float("inf")] if kind is float else [])]:
        with pytest.raises(InputError) as caught:
            schema.read(Recipe, nested(path, value))
        assert f"{path} must be {bounds}" in str(caught.value)


def test_a_whole_number_is_accepted_for_a_float_and_becomes_one():
    recipe = schema.read(Recipe, nested("search.lr", 1))
    assert type(recipe.search.lr) is float
    assert recipe.identity == schema.read(Recipe, nested("search.lr", 1.0)).identity


def test_eps_may_be_a_number():
    assert schema.read(Recipe, nested("threat.eps", 0.1)).threat.eps == Eps("0.1")
    with pytest.raises(InputError, match=r"threat\.eps.*out of range"):
        recipes.from_table(nested("threat.eps", 8))


@pytest.mark.parametrize("path", ["search.lr", "search.pgd.rel_step", "model.width"])
def test_a_table_changes_its_own_fields_of_the_base_alone(path):
    base = recipes.load("demo")
    assert schema.read(Recipe, nested(path, 0.015625), base) == replace_field(base, path, 0.015625)


def test_a_field_without_default_is_required():
    @dataclasses.dataclass(frozen=True)
    class Sized:
        size: int

    assert schema.read(Sized, {"size": 3}) == Sized(3)
    with pytest.raises(InputError, match="size"):
        schema.read(Sized, {}, path="sized")
