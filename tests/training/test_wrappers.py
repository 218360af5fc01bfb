"""Wrappers over any method: their costs, their part of a recipe, and settings that would do nothing."""

import pytest
import torch
from method_case import wrapped

from robust_tickets.base.errors import InputError
from robust_tickets.cli.parse import parse
from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.stages import costs
from robust_tickets.stages import plan as planning
from robust_tickets.training.methods.base import Step
from robust_tickets.training.wrappers.awp import AWP, AWPSettings
from robust_tickets.training.wrappers.curriculum import CurriculumSettings

WRAPPERS = {
    "awp": {"awp": AWPSettings(0.01, warmup=0.3)},
    "curriculum": {"curriculum": CurriculumSettings(0.3, steps=4)},
    "both": {"awp": AWPSettings(0.01, warmup=0.1), "curriculum": CurriculumSettings(0.3, steps=4)},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", ["fgsm", "liet"])
@pytest.mark.parametrize("begin", [0, 3, 20])
def test_the_steps_of_a_schedule_cost_together_what_each_costs(name, wrapper, begin):
    method, count = wrapped(name, **WRAPPERS[wrapper]), 47
    each = [method.passes(8, Step(number, count, classes=10)) for number in range(begin, count)]
    whole = method.schedule_passes(8, begin, count, 10)
    for phase in ("attack", "update"):
        assert getattr(whole, phase).cost == sum(getattr(passes, phase).cost for passes in each)
        assert getattr(whole, phase).total == sum(getattr(passes, phase).total for passes in each)


def test_the_state_of_the_inner_method_is_part_of_it():
    one, other = (wrapped("sora", awp=AWPSettings(0.01)) for _ in range(2))
    one.inner.load_state_dict({"alignment": torch.tensor(0.5)})
    other.load_state_dict(one.state_dict())
    assert float(other.inner.state_dict()["alignment"]) == 0.5
    with pytest.raises(InputError, match="does not fit the method AWP"):
        other.load_state_dict({"alignment": torch.tensor(0.5)})


def test_a_recipe_without_them_is_as_if_there_were_none():
    table = recipes.to_table(Recipe())
    assert not {"awp", "curriculum"} & (table["train"].keys() | table["search"].keys())
    one = recipes.from_table({"train": {"awp": {"gamma": 0.01}}})
    assert recipes.to_table(one)["train"]["awp"] == {"gamma": 0.01, "warmup": 0.0}
    assert one.identity != Recipe().identity
    assert not isinstance(wrapped("fgsm"), AWP)


@pytest.mark.parametrize("stage", ["search", "train"])
@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"awp": {"warmup": 0.5}}, r"\.awp does nothing without {0}.awp.gamma: give it too"),
        ({"curriculum": {"steps": 3}}, r"\.curriculum does nothing without {0}.curriculum.share"),
        (
            {"curriculum": {"share": 0.5}, "method": "free"},
            r"\.curriculum does not go with the method, which takes several",
        ),
    ],
)
def test_settings_that_do_nothing_are_refused(stage, table, words):
    with pytest.raises(InputError, match=stage + words.format(stage)):
        recipes.from_table({stage: table})


def test_those_that_a_recipe_brings_stay_without_effect_when_it_is_turned_off(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('[train]\nmethod = "fgsm"\nawp = {gamma = 0.01, warmup = 0.5}\n', encoding="utf-8")
    flags = ["--recipe", str(file), "--train.awp.gamma", "0"]
    off = parse("train", flags).fields
    assert "awp" not in recipes.to_table(off)["train"]
    with pytest.raises(InputError, match=r"train\.awp does nothing without train\.awp\.gamma"):
        parse("train", [*flags, "--train.awp.warmup", "0.6"])


def test_an_arm_may_have_one_and_a_search_that_trains_nothing_none():
    compare = {"arms": ["dense", "ticket", "dense+careful"]}
    arms = {"careful": {"awp": {"gamma": 0.01}}}
    recipe = recipes.from_table({"compare": compare, "arms": arms, "train": {"method": "fgsm"}})
    plans = [planning.plan(recipe, arm, SPECS["digits"]) for arm in ("dense+careful", "dense")]
    careful, dense = (costs.training_passes(plan.training, 10, 10, plan.per_epoch).cost for plan in plans)
    assert careful / dense == 8 / 5
    arms = {"careful": {"awp": {"warmup": 0.1}}}
    with pytest.raises(InputError, match=r"^arms.careful.awp does nothing without"):
        recipes.from_table({"compare": compare, "arms": arms})
    with pytest.raises(InputError, match=r"search\.awp does nothing with .* snip, which trains nothing"):
        recipes.from_table({"search": {"pruning_method": "snip", "awp": {"gamma": 0.01}}})


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"train": {"awp": {"gamma": 0.1, "warmup": 0.9}, "iterations": 20, "ticket_iterations": 5}},
         r"train.awp.warmup 0.9 leaves it no step of a schedule of 5: choose a smaller share"),
        ({"search": {"awp": {"gamma": 0.1, "warmup": 0.9}, "iterations": 5}},
         r"search.awp.warmup 0.9 leaves it no step of a schedule of 5"),
        ({"train": {"curriculum": {"share": 0.85}, "iterations": 20, "ticket_iterations": 6}},
         r"train.curriculum.share 0.85 leaves PGD no step of a schedule of 6 steps: choose a smaller share"),
    ],
)  # fmt: skip
def test_a_schedule_too_short_for_it_is_refused_before_anything_is_trained(table, words):
    with pytest.raises(InputError, match=words):
        planning.check(recipes.from_table(table), SPECS["digits"])
