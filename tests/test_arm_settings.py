"""Arms with another training method or settings of their own: `dense+liet`, `[arms.liet]`."""

from dataclasses import replace

import pandas as pd
import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.comparison.estimate import estimate
from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.arm_settings import ArmSettings
from robust_tickets.recipe.arm_training import arm_training
from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.budget import Budget
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import Compare, Threat
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Search, Train
from robust_tickets.report.arm_styles import arm_styles
from robust_tickets.report.read import arm_result
from robust_tickets.report.timing_text import markdown
from robust_tickets.stages import plan as planning
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.plan import plan
from robust_tickets.training.methods.pgd import PGDSettings
from robust_tickets.training.wrappers.curriculum import CurriculumSettings

DIGITS = SPECS["digits"]
BASES = [name for name in ARMS if ARMS[name].has_own_settings]
TABLES = {"pgd3": {"method": "pgd", "pgd": {"steps": 3}, "epochs": 6}, "ticket+pgd3": {"lr": 0.02}}


def made(arms, tables=None, **fields):
    """A checked recipe with these arms and tables of settings."""
    recipe = Recipe(compare=Compare(tuple(arms)), arms=ArmSettings(tables), **fields)
    recipes.check(recipe)
    return recipe


def test_an_arm_with_a_method_is_the_arm_by_that_method():
    recipe = made(["dense", "dense+nfgsm", "ticket+nfgsm"], train=Train(epochs=8, ticket_epochs=5))
    for arm, epochs in {"dense+nfgsm": 8, "ticket+nfgsm": 5}.items():
        planned = plan(recipe, arm, DIGITS)
        assert planned.training == replace(recipe.train, method="nfgsm")
        assert (planned.arm, planned.epochs) == (arm, epochs)
        record, base = ARMS[arm], ARMS[arm.partition("+")[0]]
        assert (record.network, record.before, record.transform) == (
            base.network,
            base.before,
            base.transform,
        )


def test_an_arm_s_tables_change_train_and_its_own_comes_last():
    recipe = made(
        ["dense", "dense+pgd3", "ticket+pgd3", "dense-short"], {**TABLES, "dense-short": {"lr": 0.3}}
    )
    train = recipe.train
    assert arm_training(recipe, "dense") == train
    pgd3 = replace(train, pgd=PGDSettings(steps=3), epochs=6)
    assert arm_training(recipe, "dense+pgd3") == pgd3
    assert arm_training(recipe, "ticket+pgd3") == replace(pgd3, lr=0.02)
    assert arm_training(recipe, "dense-short") == replace(train, lr=0.3)
    assert plan(recipe, "dense+pgd3", DIGITS).epochs == 6


def test_equal_cost_is_that_of_the_ticket_with_its_own_settings():
    arms = ["dense", "ticket", "dense-equal-cost", "dense-equal-cost+nfgsm"]
    search = Search(method="natural", epochs=1)
    short = made(arms, search=search, train=Train(iterations=99, ticket_iterations=9))
    longer = made(
        arms, {"ticket": {"iterations": 99, "ticket_iterations": 18}}, search=search, train=short.train
    )
    units = {"dense-equal-cost": 23, "dense-equal-cost+nfgsm": 5}  # of a step: PGD-10, one step
    for arm, unit in units.items():
        more = plan(longer, arm, DIGITS).steps - plan(short, arm, DIGITS).steps
        assert abs(more - 9 * 23 / unit) < 1


def test_a_recipe_with_tables_is_read_as_it_was_written(tmp_path):
    recipe = made(["dense", "dense+pgd3", "ticket+pgd3", "dense+liet"], TABLES)
    file = tmp_path / "recipe.toml"
    file.write_text(recipes.to_toml(recipe))
    assert recipes.load_recorded(file) == recipe
    assert recipes.from_table(recipes.to_table(recipe)) == recipe
    other = replace(recipe, arms=ArmSettings({**TABLES, "pgd3": {"method": "pgd", "epochs": 6}}))
    assert other.identity != recipe.identity
    # of the methods that an arm uses, settings in [train] count
    liet = replace(recipe, train=replace(recipe.train, liet=replace(recipe.train.liet, weight=7.0)))
    recipes.check(liet, recipe)
    assert liet.identity != recipe.identity


def test_tables_whose_arms_flags_have_left_out_are_not_recorded():
    recipe = made(["dense", "dense+x"], {"x": {"method": "pgd", "lr": 0.3}})
    fewer = recipes.from_table({"compare": {"arms": ["dense", "ticket"]}}, recipe)
    assert "arms" not in recipes.to_table(fewer)
    again = recipes.from_table(recipes.to_table(fewer))
    assert again.identity == fewer.identity == made(["dense", "ticket"]).identity


REFUSED = {
    "neither method nor table": (["dense+foo"], {}, "foo is no training method .* add \\[arms.foo\\]"),
    "unknown arm": (["whole+liet"], {}, "unknown value for compare.arms: 'whole\\+liet'"),
    "arm of a file": (["dense-best", "dense-best+liet"], {}, "unknown value for compare.arms: 'dense-best"),
    "no such field": (["dense+liet"], {"liet": {"epoch": 3}}, "arms.liet.epoch.*did you mean 'epochs'"),
    "wrong value": (["dense+liet"], {"liet": {"lr": -1.0}}, "arms.liet.lr must be above 0"),
    "no table": (["dense+liet"], {"liet": 3}, "arms.liet must be a table of fields, got 3"),
    "table without an arm": (
        ["dense+liet"],
        {"pgi": {"lr": 0.1}},
        "\\[arms.pgi\\] does nothing.* no ARM\\+pgi",
    ),
    "table of an arm that is not there": (
        ["ticket"],
        {"dense-short": {"lr": 0.1}},
        "has no dense-short; add it",
    ),
    "dense": (["ticket"], {"dense": {"lr": 0.1}}, "\\[arms.dense\\] is \\[train\\] itself"),
    "settings of another method": (
        ["dense+liet"],
        {"liet": {"pgd": {"steps": 3}}},
        "arms.liet.pgd does nothing to the method liet of dense\\+liet: choose method pgd",
    ),
    "fields that do not go together": (
        ["dense+liet"],
        {"liet": {"warmup_lr": 0.01}},
        "arms.liet.warmup_lr does nothing without train.warmup",
    ),
    "no name of a table": (
        ["dense+Liet"],
        {},
        "compare.arms dense\\+Liet: after the plus comes one training method",
    ),
    "two methods": (["dense+liet+awp"], {}, "compare.arms dense\\+liet\\+awp: after the plus comes one"),
    "length of the full schedule": (
        ["ticket+liet"],
        {"liet": {"epochs": 3}},
        "\\[arms.liet\\]: epochs does nothing to ticket\\+liet: give ticket_epochs",
    ),
    "length of the short schedule": (
        ["dense+liet", "ticket"],
        {"dense+liet": {"ticket_epochs": 3}},
        "ticket_epochs does nothing to dense\\+liet: give epochs",
    ),
    "length of an arm that follows the ticket": (
        ["dense-equal-cost"],
        {"dense-equal-cost": {"epochs": 3}},
        "epochs does nothing to dense-equal-cost: leave it out",
    ),
    "two lengths": (
        ["dense+x"],
        {"x": {"epochs": 3, "budget": "1e6passes"}},
        "\\[arms.x\\] has epochs and a budget",
    ),
    "name of another method": (["dense+pgd"], {"pgd": {"method": "liet"}}, "chooses another, liet"),
    "arm with the settings of another": (
        ["dense-search-lr"],
        {"dense-search-lr": {"lr": 0.1}},
        "settings of that arm are those of another",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_in_a_line(case):
    arms, tables, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        made(["dense", *arms], tables)


X = {"x": {"method": "nfgsm"}}
NAMED = {
    "batch": ({"x": {"batch": 9999}}, {}, "^arms.x.batch 9999 is larger .*: choose a smaller arms.x.batch$"),
    "batch of all": (X, {"batch": 9999}, "^train.batch 9999 is larger .*: choose a smaller train.batch$"),
    "own budget": (
        {"x": {"budget": "9passes", "batch": 3}},
        {},
        r"^arms.x.budget 9passes is shorter than one step of dense\+x, .*, or a smaller arms.x.batch$",
    ),
    "budget of all": (
        {"x": {"batch": 1200, "method": "natural"}},
        {"budget": "2300passes", "batch": 8},
        r"^train.budget 2300passes is shorter than one step of dense\+x, .*, or a smaller arms.x.batch$",
    ),
    "iterations and a budget of all": (
        {"x": {"iterations": 9, "ticket_iterations": 9}},
        {"budget": "1e6passes"},
        r"^train.budget 1e6passes and arms.x.iterations are both the length of the training of dense\+x",
    ),
    "epochs and a budget of all": (
        {"x": {"epochs": 9}},
        {"budget": "1e6passes"},
        "^arms.x.epochs does nothing beside train.budget 1e6passes",
    ),
    "norm": (
        {"x": {"method": "sora"}},
        {"method": "pgd"},
        "^arms.x.method sora is defined for threat.norm Linf, got L2",
    ),
    "a wrapper": (
        {"x": {"method": "free"}},
        {"curriculum": CurriculumSettings(share=0.5)},
        r"^train.curriculum does not go with the method of dense\+x, which takes",
    ),
    "a wrapper's length": (
        {"x": {"iterations": 1, "ticket_iterations": 1, "curriculum": {"share": 0.9}}},
        {},
        "^arms.x.curriculum.share 0.9 leaves PGD no step of a schedule of 1",
    ),
}


@pytest.mark.parametrize("case", NAMED)
def test_a_message_names_the_table_that_sets_a_field(case):
    tables, train, message = NAMED[case]
    threat = Threat(Eps("0.5"), "L2") if case == "norm" else Threat()
    train = {n: Budget(value) if n == "budget" else value for n, value in train.items()}
    with pytest.raises(InputError, match=message):
        planning.check(made(["dense", "dense+x"], tables, train=Train(**train), threat=threat), DIGITS)


def test_a_method_after_the_plus_is_named_by_its_arm():
    with pytest.raises(InputError, match=r"^compare.arms dense\+sora: the method sora is defined for"):
        made(["dense", "dense+sora"], threat=Threat(Eps("0.5"), "L2"))


def test_a_cell_of_a_study_may_leave_the_arm_of_a_table_out():
    base = made(["dense", "dense+pgd3"], {"pgd3": TABLES["pgd3"]})
    cell = replace(base, compare=Compare(("dense", "ticket")))
    recipes.check(cell, base)
    with pytest.raises(InputError, match="pgd3"):
        recipes.check(cell)


def test_a_comparison_of_methods_is_trained_charged_and_shown(tiny_recipe, compare_quickly, tmp_path):
    tables = {"pgd2": {"method": "pgd", "pgd": {"steps": 2}}}
    arms = ("dense", "dense+nfgsm", "ticket+pgd2")
    recipe = replace(tiny_recipe, compare=Compare(arms), arms=ArmSettings(tables))
    recipe = replace(recipe, search=replace(recipe.search, rounds=1))
    recipes.check(recipe)
    planned = estimate(Experiment(recipe), 1).rows.set_index("arm")
    run = compare_quickly(Experiment(recipe), [0], tmp_path, report=True)
    for arm in arms:
        result = arm_result(run, 0, arm)
        assert result.ledger["charged_passes"] == planned.passes[arm]
        assert (result.before is not None) == arm.startswith("ticket")
    units = {"dense+nfgsm": 2 + 2, "ticket+pgd2": 4 + 2}  # passes a sample
    steps = {arm: plan(recipe, arm, DIGITS).steps for arm in arms}
    for arm, passes in units.items():
        assert planned.passes[arm] == passes * steps[arm] * recipe.train.batch
    assert list(pd.read_csv(run.timing_csv).arm) == list(arms)
    channels = next(
        line for line in run.timing_markdown.read_text().splitlines() if line.startswith("Channels pruned")
    )
    assert "`ticket+pgd2`" in channels
    assert "a pass takes" not in channels  # passes of another method are another mix
    text = markdown(run)
    assert "| dense+nfgsm |" in text
    assert "Arms with settings of their own: `ticket+pgd2` method pgd, pgd.steps 2." in text
    assert arm_styles(arms)["dense+nfgsm"].colour.lower() in run.curves.read_text().lower()
