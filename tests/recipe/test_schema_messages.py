"""A wrong value is refused with the field's whole path; the cases are derived from the fields' types."""

from typing import Literal, get_args, get_origin

import pytest
from recipe_fields import BASES, LEAVES, PATHS, nested, plain_type, replace_field, wrong_types

from robust_tickets.base.errors import InputError
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe import schema
from robust_tickets.recipe.recipe import Recipe

CHOICES = [(path, get_args(hint)) for path, hint, _ in LEAVES if get_origin(plain_type(hint)) is Literal]
CHOICES = [(path, [word for word in words if isinstance(word, str)]) for path, words in CHOICES]
CHOICES = [(path, words) for path, words in CHOICES if words]


@pytest.mark.parametrize(("path", "hint", "value"), LEAVES, ids=PATHS)
def test_a_wrong_type_is_refused_with_field_and_value(path, hint, value):
    for wrong in wrong_types(hint):
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


@pytest.mark.parametrize("path", PATHS)
def test_a_misspelt_field_gets_the_nearest_name(path):
    *parents, name = path.split(".")
    wrong = ".".join([*parents, f"{name}x"])
    with pytest.raises(InputError) as caught:
        schema.read(Recipe, nested(wrong, 1))
    assert f"unknown field {wrong!r}: did you mean " in str(caught.value)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(("path", "words"), CHOICES, ids=[path for path, _ in CHOICES])
def test_a_misspelt_value_gets_the_nearest_one(path, words):
    for word in words:
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
