"""The adaptive look at the leading row of an experiment, and what the checks of its figures say."""

import pandas as pd
import pytest

from benchmarks import adaptive_look, experiments, figure_checks
from robust_tickets.base.errors import InputError
from robust_tickets.recipe import recipe as recipes
from robust_tickets.runs.directory import RunDirectory

pytestmark = pytest.mark.slow


@pytest.fixture
def experiment(tiny_recipe, tmp_path, monkeypatch):
    """An experiment with a look, whose only seed has run."""
    monkeypatch.setattr(adaptive_look, "DIRECT", ("apgd(steps=2, restarts=2)", "apgd-t(steps=2, restarts=2)"))
    monkeypatch.setattr(adaptive_look, "TRANSFERRED", ("apgd(steps=2)",))
    folder = tmp_path / "reference" / "small"
    folder.mkdir(parents=True)
    (folder / "plan.toml").write_text("seeds = [3]\nlook = true\n")
    evaluate = {"aa_images": 20, "aa_checkpoints": ["last"], "aa_whole": "off"}
    changes = {"name": "small", "compare": {"arms": ["dense", "dense+trades"]}, "evaluate": evaluate}
    (folder / "recipe.toml").write_text(recipes.to_toml(recipes.from_table(changes, tiny_recipe)))
    experiment = experiments.Experiment(folder, experiments.read_plan(folder), tmp_path / "work", flags=())
    assert list(experiment.pieces()) == ["seed 3", "look 3"]
    experiment.do("seed 3")
    return experiment


def test_the_look_leaves_the_table_alone_and_says_what_it_found(experiment):
    kept = {file: file.read_bytes() for file in experiment.run.rglob("*") if file.is_file()}
    assert "The adaptive look has not been taken yet." in figure_checks.figure_lines(experiment)
    experiment.do("look 3")
    assert not list(experiment.pieces())
    assert kept == {file: file.read_bytes() for file in experiment.run.rglob("*") if file.is_file()}
    leader, other = adaptive_look.ranked_arms(RunDirectory.open(experiment.run))
    look = pd.read_csv(experiment.look_file)
    assert set(look.arm) == {leader}
    assert set(look.attacked) == {leader, "dense" if leader != "dense" else other}
    assert set(look.n) == {20}
    assert {"apgd(steps=2, restarts=2)", "apgd-t(steps=2, restarts=2)"} <= set(
        look.attack[look.attacked == leader]
    )
    sentences = " ".join(figure_checks.figure_lines(experiment))
    assert "Sanity checks of" in sentences
    assert f"Adaptive look at `{leader}`, seed 3" in sentences
    before = figure_checks.doubtful_rows(experiment)
    look.loc[0, "accuracy"] = look.table[0] - 0.011
    look.to_csv(experiment.look_file, index=False)
    assert set(figure_checks.doubtful_rows(experiment)) == {leader, *before}


def test_without_weights_the_look_says_what_to_do(experiment, tmp_path):
    for file in (tmp_path / "work").rglob("*.safetensors"):
        file.unlink()
    with pytest.raises(InputError, match="the look needs the weights of seed 3; remove its folder from"):
        experiment.do("look 3")
