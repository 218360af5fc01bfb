"""Contrasts of a recipe: what is one, and what is refused before anything is trained."""

from dataclasses import replace

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.contrasts import WantedContrast, parsed
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.trials import with_values
from robust_tickets.studies.cells import with_dense

ARMS = ("dense", "dense+liet", "ticket")


def recipe_with(*contrasts, **changes):
    compare = replace(Recipe().compare, contrasts=contrasts, **changes)
    return replace(Recipe(), compare=compare)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ticket minus dense", WantedContrast("ticket", "dense", "different")),
        ("  dense+liet   minus ticket ", WantedContrast("dense+liet", "ticket", "different")),
        ("ticket not worse than dense", WantedContrast("ticket", "dense", "not worse")),
    ],
)
def test_a_contrast_is_two_arms_and_a_question(text, expected):
    assert parsed([text], ARMS) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ticket",
        "ticket minus",
        "minus dense",
        "ticket - dense",
        "ticket>dense",
        "ticket minus dense, ticket minus random",
    ],
)
def test_another_text_is_none(text):
    with pytest.raises(
        InputError, match="is no contrast: write each, in quotes of its own, as 'ticket minus"
    ):
        parsed([text], ARMS)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["ticket minus random"], "compare.arms lacks random, it has dense dense"),
        (["ticket minus ticket"], "is of one arm"),
        (["ticket minus dense", "dense minus ticket"], "asks what another one asks"),
        (["ticket not worse than dense"] * 2, "asks what another one asks"),
    ],
)
def test_what_answers_nothing_is_refused(texts, message):
    with pytest.raises(InputError, match=message):
        parsed(texts, ARMS)


def test_a_word_stands_for_none():
    """A recipe's contrasts can be left out by a flag."""
    assert parsed(["none"], ARMS) == []


def test_arms_may_each_be_not_worse_than_the_other():
    """That two arms are alike is two questions."""
    assert len(parsed(["ticket not worse than dense", "dense not worse than ticket"], ARMS)) == 2


def test_a_recipe_with_a_wrong_contrast_is_refused():
    with pytest.raises(InputError, match=r"compare\.arms lacks random"):
        recipes.check(recipe_with("ticket minus random"))


def test_other_contrasts_are_another_run_and_none_are_what_they_were_before():
    base = Recipe()
    changed = recipe_with("ticket minus dense")
    assert changed.identity != base.identity
    assert "contrasts" not in recipes.to_table(base)["compare"]
    assert recipes.from_table(recipes.to_table(changed)).compare == changed.compare


def test_trials_and_studies_whose_arms_are_others_ask_nothing():
    recipe = recipe_with("ticket minus dense-short")
    assert with_values(recipe, "dense", {"train.lr": 0.3}).compare.contrasts == ()
    assert with_dense(recipe).compare.contrasts == ()
