"""Fields and controls that make no sense with a pruning method are refused."""

from dataclasses import fields, replace

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Search
from robust_tickets.recipe.pruning_methods import PRUNING_METHODS, make_pruning_method, pruning_method_class
from robust_tickets.tickets.methods.random import RandomSettings
from robust_tickets.tickets.transforms import TRANSFORMS


@pytest.mark.parametrize("name", PRUNING_METHODS)
def test_each_method_names_fields_and_transforms_that_exist(name):
    cls = pruning_method_class(name)
    assert set(cls.unused) <= {field.name for field in fields(Search)}
    assert make_pruning_method(Search(pruning_method=name)).redundant_transforms <= TRANSFORMS.keys()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"pruning_method": "snip", "rounds": 2},
            "search.rounds does nothing with .* snip, which trains nothing",
        ),
        ({"pruning_method": "snip", "criterion": "magnitude"}, "search.criterion .* a score of its own"),
        ({"pruning_method": "random", "scope": "layer"}, r"search.scope .* have search.random.densities"),
        ({"random": RandomSettings("er")}, "search.random is for search.pruning_method random"),
        (
            {"pruning_method": "random", "granularity": "channel"},
            "random channels are a narrower network.*dense-narrow-flops",
        ),
    ],
)
def test_fields_that_do_nothing_with_a_method_are_refused(changes, words, tiny_recipe):
    search = replace(tiny_recipe.search, **{"rounds": 1, **changes})
    with pytest.raises(InputError, match=words):
        recipes.check(replace(tiny_recipe, search=search))


@pytest.mark.parametrize(("densities", "refused"), [("erk", False), ("uniform", True)])
def test_controls_that_are_the_ticket_of_another_seed_are_refused(densities, refused, tiny_recipe):
    search = replace(tiny_recipe.search, pruning_method="random", rounds=1, random=RandomSettings(densities))
    for arm in ("ticket-reinit", "ticket-shuffle-layer", "random", "ticket-shuffle-net"):
        recipe = replace(
            tiny_recipe, search=search, compare=replace(tiny_recipe.compare, arms=("dense", arm))
        )
        if arm != "ticket-shuffle-net" or refused:
            with pytest.raises(InputError, match=f"{arm} makes no sense with .* random"):
                recipes.check(recipe)
        else:
            recipes.check(recipe)
