"""`benchmarks.experiments` does what is not done yet, and needs no weights of what is."""

import json
import shutil
import tomllib
from dataclasses import replace

import pandas as pd
import pytest

from benchmarks import experiments
from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.arm_settings import ArmSettings
from robust_tickets.recipe.trials import with_values
from robust_tickets.stages import plan as planning

PLAN = """
seeds = [3, 4, 5]
tuning_seed = 100

[[tune]]
arm = "dense+trades"
fields = { "train.lr" = [0.1, 0.05] }

[[tune]]
arm = "ticket"
like = "dense+trades"
fields = { "search.lr" = [0.02, 0.05] }
"""


@pytest.fixture
def folder(tiny_recipe, tmp_path):
    """An experiment that has not begun."""
    folder = tmp_path / "reference" / "small"
    folder.mkdir(parents=True)
    (folder / "plan.toml").write_text(PLAN)
    recipe = recipes.from_table(
        {"name": "small", "compare": {"arms": ["dense", "dense+trades", "ticket"]}}, tiny_recipe
    )
    (folder / "recipe.toml").write_text(recipes.to_toml(recipe))
    return folder


@pytest.mark.slow
def test_pieces_are_done_in_order_and_once_and_on_another_machine(folder, tmp_path):
    def experiment(work):
        return experiments.Experiment(folder, experiments.read_plan(folder), tmp_path / work, flags=())

    first = experiment("one")
    assert list(first.pieces()) == ["tune 1", "tune 2", "seed 3", "seed 4", "seed 5"]
    for piece in list(first.pieces())[:4]:  # two seeds by one machine, in one run directory there
        first.do(piece)
    shutil.rmtree(tmp_path / "one")  # another machine has no weights
    second = experiment("two")
    assert list(second.pieces()) == ["seed 5"]
    second.do("seed 5")
    assert not list(second.pieces())
    assert not list(folder.rglob("*.safetensors"))
    trials = pd.read_csv(folder / "trials-1.csv")
    rate = trials["train.lr"][trials.val_robust.idxmax()]  # of equal ones the first
    tuned = tomllib.loads((folder / "tuned-2.toml").read_text())
    assert tuned["arms"]["dense+trades"]["lr"] == tuned["arms"]["ticket"]["lr"] == rate
    assert tuned["tuned"]["ticket"]["fields"] == ["search.lr"]
    timing = pd.read_csv(folder / "run" / "timing.csv")
    assert list(timing.arm) == ["dense", "dense+trades", "ticket"]
    assert set(timing.seeds) == {3}


def test_the_steps_of_the_chosen_trial_take_the_place_of_a_budget(tiny_recipe, tmp_path):
    rows = [
        ("a", 0.3333, 0.9),  # the best of those that were not trained to the end
        ("b", 1.0, 0.5),
        ("c", 1.0, 0.6),
    ]
    for run, _, _ in rows:
        length = tmp_path / "trials" / run / "seed-100" / "ticket" / "length.json"
        length.parent.mkdir(parents=True)
        length.write_text(json.dumps({"steps": {"a": 1, "b": 20, "c": 30}[run], "of": "x"}))
    table = tmp_path / "trials.csv"
    table.write_text(
        "run,share,val_robust,seed\n" + "".join(f"{run},{share},{best},100\n" for run, share, best in rows)
    )
    assert experiments._steps_of_best(table, "ticket") == 30
    budget = {"budget": "9s", "iterations": 0, "ticket_iterations": 0, "lr": 0.3}
    train = replace(tiny_recipe.train, iterations=40, ticket_iterations=40)
    recipe = replace(tiny_recipe, train=train, arms=ArmSettings({"ticket": budget}))
    fixed = experiments._with_steps(recipe, "ticket", 30)
    assert planning.plan(fixed, "ticket", SPECS["digits"]).steps == 30
    assert fixed.arms.tables["ticket"] == {"ticket_iterations": 30, "lr": 0.3}
    # a dense arm with settings of its own, whose rate the tuning has put into another table
    tables = {"fast": {**budget, "method": "nfgsm"}, "dense+fast": {"lr": 0.2}}
    compared = replace(recipe.compare, arms=("dense", "dense+fast"))
    recipe = replace(recipe, arms=ArmSettings(tables), compare=compared)
    fixed = experiments._with_steps(recipe, "dense+fast", 30)
    assert planning.plan(fixed, "dense+fast", SPECS["digits"]).steps == 30


PARTS = """
seeds = [3, 4]
tuning_seed = 100

[[tune]]
arm = "dense"
fields = { "train.lr" = [0.1, 0.05] }

[parts.narrow]
recipe = { model = { width = 0.25 } }

[parts.wide]
seeds = [3]
follows = "narrow"
tune = []
recipe = { search = { lr = 0.02 } }
"""


def test_parts_have_what_differs_and_begin_from_the_part_they_follow(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "REFERENCE", folder.parent)
    (folder / "plan.toml").write_text(PARTS)
    narrow, wide = experiments.parts_of("small", tmp_path / "work", flags=())
    assert list(narrow.pieces()) == ["tune 1", "seed 3", "seed 4"]
    assert list(wide.pieces()) == ["seed 3"]
    first = recipes.load(str(narrow.recipe_after(0)))
    assert (first.name, first.model.width) == ("small-narrow", 0.25)
    tuned = recipes.from_table({"train": {"lr": 0.05}}, first)
    narrow.recipe_after(1).write_text(recipes.to_toml(tuned))
    second = recipes.load(str(wide.recipe_after(0)))
    assert (second.name, second.model.width, second.train.lr) == ("small-wide", 0.25, 0.05)
    assert second.search.lr == 0.02


@pytest.mark.slow
def test_the_seeds_of_a_study_are_judged_together(folder, tmp_path):
    (folder / "plan.toml").write_text('seeds = [3, 4]\nstudy = "ratio"\n')
    recipe = recipes.load(str(folder / "recipe.toml"))
    arms = replace(recipe.compare, arms=("dense", "ticket"))
    small = replace(recipe, compare=arms, study=replace(recipe.study, ratio=(0.2, 0.8)))
    (folder / "recipe.toml").write_text(recipes.to_toml(small, study=True))
    for work in ("one", "two"):  # each seed on a machine of its own
        study = experiments.Experiment(folder, experiments.read_plan(folder), tmp_path / work, flags=())
        study.do(next(study.pieces()))
    assert not list(study.pieces())
    rows = pd.read_csv(folder / "study" / "ratio.csv")
    assert not rows.duplicated(["setting", "arm", "seed"]).any()
    assert set(rows.seed) == {3, 4}
    assert "2 seeds" in (folder / "study" / "ratio.md").read_text()
    assert not list(folder.rglob("*.safetensors"))


@pytest.mark.parametrize(
    "plan", sorted(experiments.REFERENCE.glob("*/plan.toml")), ids=lambda p: p.parent.name
)
def test_the_plans_that_are_kept_name_arms_and_parts_that_are_there(plan):
    parts = {part.part: part for part in experiments.parts_of(plan.parent.name, plan.parent, flags=())}
    base = recipes.load(str(plan.parent / "recipe.toml"))
    arms = {}
    for name, part in parts.items():
        own = part.plan.get("parts", {}).get(name, {})
        assert own.get("follows", next(iter(parts))) in parts
        recipe = experiments._changed(base, own.get("recipe", {}))
        for step in part.tuning:
            recipe = experiments._changed(recipe, step.get("recipe", {}))
            for field, values in step["fields"].items():
                for value in values:
                    with_values(recipe, step["arm"], {field: value})
            for arm in step.get("fix_steps_of", []):
                recipe = experiments._with_steps(recipe, arm, 100)
        arms[name] = recipe.compare.arms
        assert {step["arm"] for step in part.tuning} <= set(arms[name])
        assert part.plan["tuning_seed"] not in part.seeds
    for contrast in parts[next(iter(parts))].plan.get("contrasts", []):
        assert all(arm in arms[part] for _, part, arm in contrast["terms"])
        assert abs(sum(weight for weight, _, _ in contrast["terms"])) < 1e-9  # a difference
