"""A recipe that is tuned in several steps keeps the values and the records of all of them."""

from dataclasses import replace

from robust_tickets.recipe.fields import Compare
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.trials import with_tuned

RECIPE = replace(Recipe(), name="mine", compare=Compare(("dense", "ticket")))


def test_two_steps_add_up():
    first = with_tuned(RECIPE, {"ticket": {"search.lr": 0.02, "search.ratio": 0.5}}, trials=6, seeds=[100])
    second = with_tuned(first, {"ticket": {"train.lr": 0.03}}, trials=4, seeds=[101])
    assert second.name == "mine-tuned"
    assert (second.search.lr, second.search.ratio) == (0.02, 0.5)
    assert second.arms.tables == {"ticket": {"lr": 0.03}}
    fields = ["search.lr", "search.ratio", "train.lr"]
    assert second.tuned.tables == {"ticket": {"fields": fields, "trials": 10, "seeds": [100, 101]}}


def test_an_arm_keeps_its_record_when_another_is_tuned():
    first = with_tuned(RECIPE, {"dense": {"train.lr": 0.2}}, trials=3, seeds=[100])
    second = with_tuned(first, {"ticket": {"train.lr": 0.1}}, trials=3, seeds=[100])
    assert set(second.tuned.tables) == {"dense", "ticket"}
    assert second.train.lr == 0.2
