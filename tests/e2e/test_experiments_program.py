"""`benchmarks.experiments` does what is not done yet, and needs no weights of what is."""

import shutil
import tomllib

import pandas as pd
import pytest

from benchmarks import experiments
from robust_tickets.recipe import recipe as recipes

PLAN = """
seeds = [3, 4]
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
        return experiments.Experiment(folder, tmp_path / work, flags=())

    first = experiment("one")
    assert list(first.pieces()) == ["tune 1", "tune 2", "seed 3", "seed 4"]
    for piece in list(first.pieces())[:3]:
        first.do(piece)
    shutil.rmtree(tmp_path / "one")  # another machine has no weights
    second = experiment("two")
    assert list(second.pieces()) == ["seed 4"]
    second.do("seed 4")
    assert not list(second.pieces())
    assert not list(folder.rglob("*.safetensors"))
    trials = pd.read_csv(folder / "trials-1.csv")
    rate = trials["train.lr"][trials.val_robust.idxmax()]  # of equal ones the first
    tuned = tomllib.loads((folder / "tuned-2.toml").read_text())
    assert tuned["arms"]["dense+trades"]["lr"] == tuned["arms"]["ticket"]["lr"] == rate
    assert tuned["tuned"]["ticket"]["fields"] == ["search.lr"]
    timing = pd.read_csv(folder / "run" / "timing.csv")
    assert list(timing.arm) == ["dense", "dense+trades", "ticket"]
    assert set(timing.seeds) == {2}
