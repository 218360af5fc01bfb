"""Every field of the recipe, by its type: recorded, read back, and refused with its whole path if wrong."""

import dataclasses
import functools
import tomllib
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_fields import (
    BASES,
    LEAVES,
    NUMBERS,
    another,
    bounds_of,
    edges,
    leaves,
    nested,
    plain_type,
    replace_field,
    wrong_types,
)

from robust_tickets.base.errors import InputError
from robust_tickets.cli.registry import COMMANDS, command_class
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe import schema
from robust_tickets.recipe.arm_settings import ArmSettings
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.recipe import Recipe

SETTINGS = settings(deadline=None, derandomize=True, database=None, max_examples=60)
NOT_RECORDED = {"summary", "data.root", "data.download"}


def test_the_walk_reaches_every_kind_of_field():
    assert {"name", "data.root", "threat.eps", "search.pgd.steps", "compare.arms"} <= set(LEAVES)
    assert len(LEAVES) >= 40


def test_every_number_has_bounds():
    numbers = {path for path, hint in LEAVES.items() if plain_type(hint) in (int, float)}
    assert numbers - set(NUMBERS) == {"search.fc_ratio", "search.output_ratio"}, "these may be None"


def is_change(base, other):
    """Whether a recipe may be changed into another."""
    try:
        recipes.check(other, base)
    except InputError:
        return False
    return other != base


TUNED = ArmSettings({"dense": {"fields": ["train.lr"], "trials": 3, "seeds": [100]}})


@pytest.mark.parametrize("record", [{"fields": ["train.lr"]}, {"fields": "x", "trials": 3, "seeds": [100]}])
def test_a_record_of_a_tuning_that_is_none_is_refused(record):
    with pytest.raises(InputError, match=r"\[tuned\.dense\] must have fields, trials and seeds"):
        recipes.from_table({"tuned": {"dense": record}})


@pytest.mark.parametrize("path", LEAVES)
def test_the_identity_changes_with_every_recorded_field_and_no_other(path):
    values = [functools.reduce(getattr, path.split("."), base) for base in BASES]
    others = [
        replace_field(base, path, TUNED if path == "tuned" else another(LEAVES[path], value))
        for base, value in zip(BASES, values, strict=True)
    ]
    base, other = next(pair for pair in zip(BASES, others, strict=True) if is_change(*pair))
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


@pytest.mark.parametrize("path", NUMBERS)
def test_a_bounded_field_accepts_exactly_its_range(path):
    hint = LEAVES[path]
    for value in edges(hint, inside=True):
        schema.read(Recipe, nested(path, value))
    assert edges(hint, inside=False)
    for value in edges(hint, inside=False):
        with pytest.raises(InputError) as caught:
            schema.read(Recipe, nested(path, value))
        assert f"{path} must be {bounds_of(hint)}" in str(caught.value)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_flag_of_a_command_out_of_range_is_refused(name):
    cls = command_class(name)
    for path, hint in leaves(cls):
        if bounds_of(hint) and not path.startswith("fields."):
            for value in edges(hint, inside=False):
                with pytest.raises(InputError, match=f"{path} must be at "):
                    schema.read(cls, nested(path, value))


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


CHOICES = {
    path: words
    for path, hint in LEAVES.items()
    if get_origin(plain_type(hint)) is Literal
    if (words := [word for word in get_args(plain_type(hint)) if isinstance(word, str)])
}


@pytest.mark.parametrize("path", LEAVES)
def test_a_wrong_type_is_refused_with_field_and_value(path):
    for wrong in wrong_types(LEAVES[path]):
        with pytest.raises(InputError) as caught:
            schema.read(Recipe, nested(path, wrong))
        message = str(caught.value)
        assert path in message
        assert repr(wrong) in message or repr(str(wrong)) in message
        assert "class" not in message, "Python's names of types are not the user's"
        with pytest.raises(InputError, match=path.replace(".", r"\.")):
            schema.check(replace_field(BASES[0], path, wrong))


@pytest.mark.parametrize("path", ["search", "search.pgd", "data"])
def test_a_table_is_required_for_a_group_of_fields(path):
    for wrong in (3, [1], "x"):
        with pytest.raises(InputError, match=f"{path} must be a table"):
            schema.read(Recipe, nested(path, wrong))


@pytest.mark.parametrize("path", LEAVES)
def test_a_misspelt_field_gets_the_nearest_name(path):
    *parents, name = path.split(".")
    wrong = ".".join([*parents, f"{name}x"])
    with pytest.raises(InputError) as caught:
        schema.read(Recipe, nested(wrong, 1))
    assert f"unknown field {wrong!r}: did you mean " in str(caught.value)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("path", CHOICES)
def test_a_misspelt_value_gets_the_nearest_one(path):
    for word in CHOICES[path]:
        wrong = f"{word}x"
        with pytest.raises(InputError) as caught:
            schema.read(Recipe, nested(path, wrong))
        assert f"unknown value for {path}: {wrong!r}: did you mean " in str(caught.value)
        assert repr(word) in str(caught.value)


def test_a_misspelt_value_in_a_list_gets_the_nearest_one():
    with pytest.raises(InputError, match=r"compare\.arms.*'dens'.*did you mean 'dense'"):
        schema.read(Recipe, nested("compare.arms", ["ticket", "dens"]))
    with pytest.raises(InputError, match=r"model\.name.*'resnet-20'.*did you mean 'resnet20'"):
        recipes.from_table(nested("model.name", "resnet-20"))


def test_a_choice_of_numbers_has_no_other_types():
    for value in (8.0, True, "8", 9):
        with pytest.raises(InputError, match=r"value for search.round_to.*known: 16, 32, 64, 8"):
            recipes.from_table({"search": {"granularity": "channel", "round_to": value}})


@pytest.mark.parametrize("path", ["search.epochs", "search.lr"])
def test_a_number_too_large_for_a_float_is_refused(path):
    with pytest.raises(InputError, match=path.replace(".", r"\.")):
        schema.read(Recipe, nested(path, -(10**400)))
