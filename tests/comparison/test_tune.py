"""Tuning: the best of as many trials for each arm, by validation alone, on seeds of its own."""

import shutil
from dataclasses import replace

import pandas as pd
import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.cli.main import main
from robust_tickets.comparison import compare as comparison
from robust_tickets.comparison.executors.processes import Processes
from robust_tickets.comparison.tune import forecast, rungs, tune
from robust_tickets.data import load
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.arm_settings import ArmSettings
from robust_tickets.recipe.budget import Budget
from robust_tickets.recipe.fields import Compare
from robust_tickets.recipe.trials import shortened, with_values
from robust_tickets.runs.files import read_jsonl
from robust_tickets.stages.experiment import Experiment

GRID = {"train.lr": [0.01, 0.1, 1e4], "train.weight_decay": [0.0, 0.01]}
ARMS = ("dense", "dense+fgsm", "ticket")


@pytest.fixture(scope="module")
def recipe(tiny_recipe):
    train = replace(tiny_recipe.train, epochs=3, ticket_epochs=3, warmup=0.0, warmup_lr=0.0)
    search = replace(tiny_recipe.search, rounds=1, epochs=1)
    return replace(tiny_recipe, train=train, search=search, compare=Compare(("dense", "ticket")))


@pytest.fixture(scope="module")
def tuned(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    return tune(Experiment(recipe), GRID, ARMS, [100, 101], folder)


@pytest.mark.parametrize(
    ("trials", "eta", "expected"),
    [
        (4, 1, [(4, 1)]),
        (3, 3, [(3, 1)]),
        (4, 3, [(4, 1 / 3), (2, 1)]),
        (9, 3, [(9, 1 / 3), (3, 1)]),
        (10, 3, [(10, 1 / 9), (4, 1 / 3), (2, 1)]),
        (8, 2, [(8, 1 / 4), (4, 1 / 2), (2, 1)]),
        (2, 2, [(2, 1)]),
    ],
)
def test_one_in_so_many_trains_for_so_many_times_as_long(trials, eta, expected):
    counts, shares = zip(*rungs(trials, eta), strict=True)
    assert list(counts) == [count for count, _ in expected]
    assert list(shares) == pytest.approx([share for _, share in expected])


def test_each_arm_has_as_many_trials_and_the_best_is_chosen(tuned, recipe):
    rows = pd.read_csv(tuned.table)
    counts = rows.groupby(["arm", "share"]).size().unstack()
    assert list(counts.index) == sorted(ARMS)
    assert counts.to_numpy().tolist() == [[12, 4]] * 3  # six combinations, then two, on two seeds
    chosen = recipes.load(str(tuned.recipe))
    for arm in ARMS:
        last = rows[(rows.arm == arm) & (rows.share == 1)]
        means = last.groupby(["train.lr", "train.weight_decay"]).val_robust.mean()
        lr, decay = means.idxmax()
        own = chosen.train if arm == "dense" else chosen.arms.tables[arm]
        values = (own.lr, own.weight_decay) if arm == "dense" else (own["lr"], own["weight_decay"])
        assert values == (lr, decay)
        assert lr != 1e4
    for row in rows[rows.share == 1].itertuples():  # from the files of the trainings themselves
        (file,) = (tuned.folder / "trials" / row.run / f"seed-{row.seed}" / row.arm).glob("metrics.jsonl")
        assert read_jsonl(file)[-1]["val_robust"] == pytest.approx(row.val_robust, abs=1e-6)
        assert read_jsonl(file)[-1]["epoch"] == 3
    assert rows[rows["train.lr"] == 1e4].val_robust.isna().any()  # diverged
    assert "train.lr" in tuned.text


def test_the_same_call_again_trains_nothing(tuned, recipe, monkeypatch):
    before = tuned.table.read_bytes()
    monkeypatch.setattr("robust_tickets.stages.train.fit", None)
    again = tune(Experiment(recipe), GRID, ARMS, [100, 101], tuned.folder.parent)
    assert again.table.read_bytes() == before
    assert again.text == tuned.text


def test_a_comparison_says_what_was_tuned_and_takes_other_seeds(tuned, tmp_path, compare_quickly):
    chosen = recipes.load(str(tuned.recipe))
    chosen = replace(chosen, compare=Compare((*chosen.compare.arms, "random")))
    with pytest.raises(
        InputError, match=r"seed 101 chose train\.lr and train\.weight_decay of dense, and would"
    ):
        comparison.compare(Experiment(chosen), [99, 101], tmp_path)
    assert not list(tmp_path.iterdir())
    run = compare_quickly(Experiment(chosen), [0], tmp_path, report=True)
    text = " ".join(run.timing_markdown.read_text().split())
    assert (
        "Chosen by validation, on seeds 100, 101: `dense` train.lr and train.weight_decay, 6 trials; " in text
    )
    assert "`ticket` train.lr and train.weight_decay, 6 trials" in text
    assert "Not tuned: `random`." in text


def test_test_images_are_not_looked_at(recipe, tmp_path):
    images = load.load(recipe.data)
    other = replace(images, test=replace(images.test, images=255 - images.test.images))
    tables = []
    for number, data in enumerate((images, other)):
        experiment = Experiment(recipe, images=data)
        result = tune(experiment, {"train.lr": [0.01, 0.1]}, ["ticket"], [100], tmp_path / str(number))
        tables.append(result.table.read_text())
        assert not list(result.folder.rglob("robustness.csv"))
    assert tables[0] == tables[1]


def test_the_command_line(recipe, tmp_path, capsys):
    (tmp_path / "mine.toml").write_text(recipes.to_toml(recipe))
    words = f"tune --recipe {tmp_path / 'mine.toml'} --runs {tmp_path / 'runs'} --seeds 1 --arm dense+nfgsm"
    fields = "--field train.lr 0.05 0.1 --field train.nfgsm.k 1 2 --eta 2"
    main([*words.split(), *fields.split()])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("dense+nfgsm: train.lr 0.")
    assert "was tried: " in lines[2]
    table = pd.read_csv(lines[-2])
    assert len(table) == 4 + 2
    chosen = recipes.load(lines[-1])
    assert chosen.arms.tables["dense+nfgsm"]["nfgsm"]["k"] in (1, 2)
    assert chosen.compare.arms == ("dense", "ticket", "dense+nfgsm")
    shutil.rmtree(tmp_path / "runs")


@pytest.mark.parametrize(
    ("grid", "arms", "message"),
    [
        ({}, ["dense"], "nothing to tune"),
        ({"train.lr": []}, ["dense"], r"train\.lr needs two different values at least, got none"),
        ({"train.lr": [0.1]}, ["dense"], r"train\.lr needs two different values"),
        ({"train.lr": [0.1, 0.1]}, ["dense"], r"train\.lr needs two different values"),
        ({"train.lrr": [0.1, 0.2]}, ["dense"], r"unknown field 'train\.lrr'"),
        ({"train.lr": [0.1, "x"]}, ["dense"], r"train\.lr must be a number"),
        ({"data.train_images": [1, 2]}, ["dense"], "cannot be tuned: give a field of train or of search"),
        ({"train.lr": [0.1, 0.2]}, ["densee"], "unknown arm"),
        ({"search.lr": [0.1, 0.2]}, ["dense"], r"search\.lr does nothing in dense"),
        (
            {"search.lr": [0.1, 0.2]},
            ["ticket", "ticket+fgsm"],
            r"search\.lr is of the search, which ticket and ticket\+fgsm share: tune it for one arm",
        ),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_anything_is_trained(grid, arms, message, recipe, tmp_path):
    with pytest.raises(InputError, match=message):
        tune(Experiment(recipe), grid, arms, [100], tmp_path)
    assert not list(tmp_path.iterdir())


def test_trials_that_are_too_short_are_refused_before_anything_is_trained(recipe, tmp_path):
    tables = ArmSettings({"switch": {"method": "nfgsm", "curriculum": {"share": 0.9, "steps": 2}}})
    train = replace(recipe.train, iterations=12, ticket_iterations=12)
    own = replace(recipe, train=train, arms=tables, compare=Compare(("dense", "dense+switch")))
    grid = {"train.lr": [0.01, 0.02, 0.03, 0.1]}
    with pytest.raises(
        InputError, match=r"curriculum\.share 0\.9 leaves PGD no step of a schedule of 4 steps"
    ):
        tune(Experiment(own), grid, ("dense", "dense+switch"), [100], tmp_path)
    assert not list(tmp_path.iterdir())


def test_budgets_in_seconds_are_timed_and_those_below_a_step_are_refused(recipe, tmp_path):
    grid = {"train.lr": [0.01, 0.02]}
    # the other arm has the budget: it is not tuned, and nothing is timed
    steps = replace(recipe.train, iterations=3, ticket_iterations=3)
    tables = ArmSettings({"ticket": {"budget": "20s", "iterations": 0, "ticket_iterations": 0}})
    other = replace(recipe, train=steps, arms=tables)
    dense = tune(Experiment(other), grid, ("dense",), [100], tmp_path)
    assert len(pd.read_csv(dense.table)) == 2
    train = replace(recipe.train, budget=Budget("0.5s"))
    timed = tune(Experiment(replace(recipe, train=train)), grid, ("dense",), [100], tmp_path)
    for run in pd.read_csv(timed.table).run:
        assert (timed.folder / "trials" / run / "seed-100" / "dense" / "length.json").is_file()
    short = replace(recipe, train=replace(train, budget=Budget("1e-7s")))
    with pytest.raises(InputError, match="1e-7s"):
        tune(Experiment(short), grid, ("dense",), [100], tmp_path / "none")
    with pytest.raises(InputError, match="several jobs slow down: leave out --jobs"):
        tune(
            Experiment(replace(recipe, train=train)), grid, ("dense",), [100], tmp_path, executor=Processes(2)
        )
    assert not (tmp_path / "none").exists()


def test_the_settings_of_studies_are_kept(recipe, tmp_path):
    of_study = replace(recipe, study=replace(recipe.study, reuse=("own", "threat.eps=0.2")))
    result = tune(Experiment(of_study), {"train.lr": [0.01, 0.02]}, ("dense",), [100], tmp_path)
    assert recipes.load(str(result.recipe)).study == of_study.study


def test_the_forecast_has_the_passes_of_the_trials_and_none_of_an_evaluation(tuned, recipe):
    expected = forecast(Experiment(recipe), GRID, ARMS, seeds=2)
    rows = pd.read_csv(tuned.table)
    rows = rows[(rows.seed == 100) & (rows["train.lr"] < 1)]  # the others diverge
    for row in rows.itertuples():
        begin = f"{row.arm} (train.lr {row._2:g}, train.weight_decay {row._3:g}"
        label = f"{begin})" if row.share == 1 else f"{begin}, 1/3 of the schedule)"
        of_trial = expected.rows[expected.rows.arm.str.replace(".0,", ",").str.replace(".0)", ")") == label]
        if row.share < 1 or len(of_trial):  # which ones are trained to the end is not known before
            assert of_trial.passes.item() == row.passes
    assert expected.whole_seconds == 0
    whole = forecast(Experiment(recipe), GRID, ARMS, seeds=2, eta=1)
    assert whole.rows.passes.sum() > expected.rows.passes.sum()


def test_a_shorter_trial_has_a_share_of_every_length(recipe):
    arm = with_values(recipe, "dense+fgsm", {"train.epochs": 9})
    short = shortened(arm, 1 / 3, searches=True)
    assert (short.train.epochs, short.train.ticket_epochs, short.search.epochs) == (1, 1, 1)
    assert short.arms.tables["dense+fgsm"] == {"epochs": 3}
    budget = replace(recipe, train=replace(recipe.train, epochs=0, budget=Budget("30min")))
    assert shortened(budget, 1 / 3, searches=False).train.budget.amount == 600
    assert shortened(recipe, 1 / 3, searches=False).search == recipe.search
