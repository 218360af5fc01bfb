"""How soon an arm reaches an accuracy, from its curve."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from robust_tickets.recipe.fields import Compare, Evaluate
from robust_tickets.report.boosting import boosting, cost_to, early_area, early_stop, measured
from robust_tickets.report.boosting_table import _geometric_mean, boosting_csv, boosting_markdown
from robust_tickets.report.read import ArmResult, arm_result
from robust_tickets.report.tables import timing
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json
from robust_tickets.stages.experiment import Experiment


def point(step, robust, loss=1.0, cost=10):
    return {
        "step": step,
        "epoch": step / 4,
        "val_clean": robust + 0.1,
        "val_robust": robust,
        "val_loss": loss,
        "passes": 2 * cost * step,
        "flops": cost * step,
    }


def arm(name, points, history, search=None, cost=1000):
    accuracy = {(which, attack): 0.5 for which in ("best", "last") for attack in ("clean", "pgd-20")}
    ledger = {"charged_seconds": 1.0, "charged_passes": 2 * cost, "charged_flops": cost}
    return ArmResult(
        name,
        0,
        {"epochs": 2, "density": 1.0, "steps_per_epoch": 4},
        ledger,
        search,
        history,
        accuracy,
        points,
    )


DENSE = arm("dense", [point(0, 0.0), point(2, 0.2)], [point(4, 0.3, 0.7), point(8, 0.4, 0.8)])
TICKET = arm(
    "ticket", [point(0, 0.1), point(2, 0.36, 0.5)], [point(4, 0.38), point(8, 0.39)], {"charged_flops": 60}
)


def test_a_worked_example():
    """Dense's best is 0.4: 80 % of it is 0.32, seen by dense at step 8 and by the ticket at step 2."""
    row = measured(TICKET, DENSE, Evaluate(early_epochs=1))
    assert (row["flops_to_80"], row["passes_to_80"]) == (20, 40)
    assert row["boosting_80"] == 80 / 20
    assert row["boosting_80_with_search"] == 80 / (20 + 60)
    assert row["boosting_95"] == 80 / 40
    assert math.isnan(row["boosting_100"])
    assert math.isnan(row["flops_to_100"])
    assert row["early_robust"] == pytest.approx(0.5 * (0.1 + 0.36) / 2 + 0.5 * (0.36 + 0.38) / 2)
    assert row["epoch1_robust"] == 0.38
    assert (row["early_stop_step"], row["early_stop_clean"]) == (2, pytest.approx(0.46))
    assert measured(DENSE, DENSE, Evaluate(early_epochs=1))["boosting_90"] == 1


def test_epochs_are_counted_in_steps_where_the_last_was_cut_short():
    """Six steps of epochs of four: the second record is of epoch 1.5, and two epochs are not there."""
    short = arm("dense", [point(0, 0.0)], [point(4, 0.3) | {"epoch": 1}, point(6, 0.4) | {"epoch": 2}])
    assert [p["epoch"] for p in short.curve] == [0, 1, 1.5]
    assert math.isnan(measured(short, DENSE, Evaluate(early_epochs=2))["early_robust"])
    alone = replace(short, history=short.history[1:], about={**short.about, "steps_per_epoch": 4})
    assert [p["epoch"] for p in alone.curve] == [0, 1.5]


def test_an_untrained_arm_at_the_target_has_an_infinite_boosting():
    untrained = arm("ticket", [point(0, 0.4)], [point(4, 0.4)], {"charged_flops": 40})
    row = measured(untrained, DENSE, Evaluate(early_epochs=1))
    assert row["boosting_90"] == math.inf
    assert row["boosting_90_with_search"] == 80 / 40
    assert measured(untrained, untrained, Evaluate(early_epochs=1))["boosting_90"] == 1


def test_area_is_the_mean_height():
    flat = [point(step, 0.3) for step in (0, 1, 3, 4, 8)]
    assert early_area(flat, "val_robust", 1) == pytest.approx(0.3)
    assert early_area(flat, "val_robust", 2) == pytest.approx(0.3)
    rising = [point(step, step / 8) for step in (0, 3, 8)]
    assert early_area(rising, "val_robust", 2) == pytest.approx(0.5)


@pytest.mark.parametrize("steps", [(), (4,), (2, 4), (0, 2)])
def test_a_curve_that_does_not_span_the_epoch_has_no_area(steps):
    assert math.isnan(early_area([point(s, 0.3) for s in steps], "val_robust", 1))


def test_a_target_is_reached_at_the_first_validation_that_has_it():
    curve = [point(0, 0.1), point(2, 0.5), point(4, 0.2), point(6, 0.5)]
    assert cost_to(curve, "val_robust", 0.5) == (40, 20)
    assert all(map(math.isnan, cost_to(curve, "val_robust", 0.51)))


def test_early_stop_is_the_first_lowest_loss():
    curve = [point(0, 0.1, 2.0), point(2, 0.5, 0.5), point(4, 0.2, 0.5)]
    assert early_stop(curve) == (2, 0.6)


@pytest.fixture(scope="module")
def run(tiny_recipe, compare_quickly, tmp_path_factory):
    recipe = replace(
        tiny_recipe,
        train=replace(tiny_recipe.train, epochs=4),
        compare=Compare(("dense", "dense-best", "dense-short", "ticket")),
    )
    return compare_quickly(Experiment(recipe), [0, 1], tmp_path_factory.mktemp("runs"))


def test_a_comparison_has_a_row_an_arm_and_seed(run):
    rows = boosting(run)
    pairs = [(arm, seed) for arm in run.recipe.compare.arms for seed in (0, 1)]
    assert list(zip(rows.arm, rows.seed, strict=True)) == pairs
    costs = [arm_result(run, seed, "ticket").before["charged_flops"] for seed in (0, 1)]
    assert rows[rows.arm == "ticket"].search_flops.tolist() == costs


def test_dense_best_is_dense_up_to_its_best_epoch(run):
    for seed in (0, 1):
        best, dense = (arm_result(run, seed, arm) for arm in ("dense-best", "dense"))
        n = dense.about["best_epoch"]
        assert best.history == dense.history[:n]
        assert best.ledger["charged_passes"] == dense.history[n - 1]["passes"]
        assert best.ledger["charged_seconds"] == dense.ledger["epoch_seconds"][n - 1]
        assert best.accuracy["best", "pgd-20"] == dense.accuracy["best", "pgd-20"]
        assert best.accuracy["last", "pgd-20"] == dense.accuracy["best", "pgd-20"]
        assert not run.arm(seed, "dense-best").path.exists()
    row = timing(run).set_index("arm").loc["dense-best"]
    assert row.pgd20_mean == row.pgd20_last_mean == timing(run).set_index("arm").loc["dense"].pgd20_mean
    assert row.flops_vs_dense == pytest.approx(row.epochs / 4)


def test_dense_best_was_trained_beside_as_many_jobs_as_dense(run, tmp_path):
    other = RunDirectory(tmp_path / run.path.name, run.recipe)
    shutil.copytree(run.path, other.path)
    file = other.arm(0, "dense").ledger
    file.write_text(json.dumps({**read_json(file), "jobs": 2}))
    assert timing(other).set_index("arm").jobs[["dense", "dense-best", "ticket"]].tolist() == [2, 2, 1]


def test_the_table_for_people_has_the_figures_of_the_csv(run):
    lines = boosting_markdown(run).splitlines()
    heads = [cell.strip() for cell in lines[2].strip("|").split("|")]
    heads[heads.index("clean there %") + 1] = "clean"  # two columns are differences in points
    table = {
        cells[0]: dict(zip(heads, cells, strict=True))
        for cells in ([c.strip() for c in line.strip("|").split("|")] for line in lines[4:8])
    }
    rows = boosting(run)
    assert list(table) == list(run.recipe.compare.arms)
    for arm, shown in table.items():
        # the ticket's schedule is the short one: dense on the full one warms up at another pace
        as_long = dict.fromkeys(("dense", "dense-best"), "dense") | dict.fromkeys(
            ("dense-short", "ticket"), "dense-short"
        )
        own, dense = (rows[rows.arm == each] for each in (arm, as_long[arm]))
        assert shown["early area %"] == f"{100 * own.early_robust.mean():.1f}"
        assert shown["early stop at step"] == f"{own.early_stop_step.mean():.0f}"
        if arm == as_long:
            assert shown["- dense's, steps"] == shown["- dense's, points"] == ""
            continue
        low, high = stats.ttest_rel(own.early_robust, dense.early_robust).confidence_interval(0.95)
        mean = own.early_robust.mean() - dense.early_robust.mean()
        if abs(mean) > 1e-9:
            expected = f"{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
            assert shown["- dense's, points"] == expected
    text = boosting_csv(run)
    assert text.splitlines()[0].startswith("arm,seed,epoch1_clean,early_clean,best_clean,epoch1_robust")
    assert len(text.splitlines()) == 1 + len(rows)


@pytest.mark.parametrize(
    ("ratios", "shown"),
    [([2.0, 8.0], "4.00"), ([2.0, math.nan], "-"), ([2.0, math.inf], "inf"), ([0.0, 2.0], "0.00")],
)
def test_ratios_have_a_geometric_mean(ratios, shown):
    assert _geometric_mean(pd.Series(ratios)) == shown


def test_a_run_without_validation_losses_has_no_early_stop_and_yet_a_table():
    """As the oldest of the reference runs."""
    run = RunDirectory.open(Path(__file__).parents[2] / "runs" / "reference" / "cifar10-cpu")
    assert boosting(run).early_stop_step.isna().all()
    row = next(line for line in boosting_markdown(run).splitlines() if line.startswith("| ticket "))
    assert row.endswith("| - | - | - | - |")
