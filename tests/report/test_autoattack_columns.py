"""AutoAttack in the tables of a made-up run: figures by hand, intervals by scipy, what verdicts rest on."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from robust_tickets.report.accuracy_columns import accuracy_interval, wilson
from robust_tickets.report.judge import front_checkpoints, judge
from robust_tickets.report.read import missing_part, results
from robust_tickets.report.table_cells import titled_cells
from robust_tickets.report.tables import timing
from robust_tickets.report.timing_text import csv, latex, markdown
from robust_tickets.runs.directory import RunDirectory

IMAGES = 200
PAIR = {"dense": [0.28, 0.31], "ticket": [0.295, 0.315]}


def add_row(run, arm, seed, checkpoint, attack, accuracy, n=IMAGES):
    file = run.arm(seed, arm).robustness
    rows = pd.read_csv(file, keep_default_na=False)
    row = rows.iloc[[0]].assign(checkpoint=checkpoint, attack=attack, accuracy=accuracy, n=n)
    pd.concat([rows, row]).to_csv(file, index=False)


@pytest.fixture
def judged(run):
    """The run with AutoAttack's two members on every checkpoint: the best is 3 points below the last."""
    recipe = replace(run.recipe, evaluate=replace(run.recipe.evaluate, aa_images=IMAGES))
    for arm, values in PAIR.items():
        for seed, accuracy in enumerate(values):
            add_row(run, arm, seed, "last", "aa-apgd", accuracy)
            add_row(run, arm, seed, "best", "aa-apgd", accuracy - 0.03)
            add_row(run, arm, seed, "last", "aa-apgd", 0.99, n=50)  # on other images
            add_row(run, arm, seed, "last", "pgd-20", accuracy + 0.04)
    return RunDirectory(run.path, recipe)


def table_of(run):
    return timing(run).set_index("arm")


def heads(run):
    return titled_cells(timing(run))[0]


def test_means_deviations_and_differences_by_hand(judged):
    table = table_of(judged)
    assert table.aa_last_mean["dense"] == pytest.approx(0.295)
    assert table.aa_last_sd["dense"] == pytest.approx(0.03 / np.sqrt(2))
    assert table.aa_best_mean["ticket"] == pytest.approx(0.275)
    assert table.aa_average_mean.isna().all()
    assert list(table.pgd20_minus_aa) == pytest.approx([0.04, 0.04])
    assert table.aa_last_added.isna().all()
    assert list(table.judge) == ["aa-apgd"] * 2
    assert list(table.robust_mean) == pytest.approx([0.295, 0.305])
    assert table.robust_vs_dense["ticket"] == pytest.approx(0.01)
    assert table.pgd20_vs_dense["ticket"] == pytest.approx(-0.025), "of the best epoch, as it always was"
    assert list(table.clean_last_mean) == pytest.approx([0.62, 0.595])


def test_the_interval_is_over_images_with_few_seeds_and_over_seeds_with_three():
    expected = stats.binomtest(59, IMAGES).proportion_ci(method="wilson")
    assert accuracy_interval([0.295], IMAGES) == pytest.approx((expected.low, expected.high))
    assert accuracy_interval([0.28, 0.31], IMAGES) == pytest.approx((expected.low, expected.high))
    z = stats.norm.ppf(0.975)
    centre, spread = 0.295 + z**2 / 400, z * np.sqrt(0.295 * 0.705 / 200 + z**2 / 160_000)
    by_hand = [(centre - spread) / (1 + z**2 / 200), (centre + spread) / (1 + z**2 / 200)]
    assert wilson(0.295, IMAGES) == pytest.approx(by_hand)
    values = [0.28, 0.31, 0.30]
    over_seeds = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert accuracy_interval(values, IMAGES) == pytest.approx((over_seeds.low, over_seeds.high))
    assert accuracy_interval([0.0, 0.0, 0.5], IMAGES)[0] == 0.0


def test_columns_are_empty_where_it_was_not_run(run):
    table = table_of(run)
    empty = [column for column in table if "aa_" in column or "_aa" in column]
    assert len(empty) == 3 * 5 + 2
    assert table[empty].isna().all(axis=None)
    assert list(table.judge) == ["pgd-20"] * 2
    assert list(table.robust_mean) == list(table.pgd20_last_mean)
    first = dict(zip(*(line.split(",") for line in csv(run).splitlines()[:2]), strict=True))
    assert {first[column] for column in empty} == {""}
    assert "AutoAttack" not in markdown(run)


def test_the_text_says_by_how_much_pgd_flatters(judged):
    assert "PGD-20 says more, by so many points: `dense` 4.0, `ticket` 4.0." in markdown(judged)


def test_the_last_epoch_comes_first_and_heads_say_which_attack(run, judged):
    plain, with_aa = heads(run), heads(judged)
    assert plain[3:7] == ["clean %", "PGD-20 %", "PGD-20 best %", "PGD-20 - dense, points"]
    aa = ["AA (APGD-CE, APGD-T) %", "AA best %", "AA - dense, points"]
    assert with_aa[3:8] == ["clean %", "PGD-20 %", *aa]
    row = next(line for line in markdown(judged).splitlines() if line.startswith("| ticket"))
    low, high = (100 * x for x in wilson(0.305, IMAGES))
    assert f"| 59.5 ± 2.1 | 24.5 ± 2.1 | 30.5 ({low:.1f} to {high:.1f}) | 27.5 ± 1.4 | +1.0 |" in row
    assert "AA (APGD-CE, APGD-T) \\%" in latex(judged)


def test_checkpoints_that_the_recipe_leaves_out_stand_under_pgd(judged):
    evaluate = replace(judged.recipe.evaluate, aa_checkpoints=("last",))
    some = RunDirectory(judged.path, replace(judged.recipe, evaluate=evaluate))
    assert heads(some)[4:8] == ["PGD-20 %", heads(judged)[5], "PGD-20 best %", "AA - dense, points"]
    assert table_of(some).aa_best_mean.isna().all(), "its rows are of a run that judged it in some seeds"
    (some.arm(1, "dense").robustness).write_text(
        "".join(
            line
            for line in some.arm(1, "dense").robustness.read_text().splitlines(True)
            if not ("best" in line and "aa-apgd" in line)
        )
    )
    assert not missing_part(some, 1, "dense")
    assert "no row of best under aa-apgd" in missing_part(judged, 1, "dense")


def test_the_verdict_rests_on_autoattack_where_it_was_run(run, judged):
    assert "at 24.5 % robust accuracy (last epoch) under PGD-20 against 27.0 % (-2.5 points)" in markdown(run)
    text = "at 30.5 % robust accuracy (last epoch) under AA (APGD-CE, APGD-T) against 29.5 % (+1.0 points)"
    assert text in markdown(judged)


def test_a_row_without_autoattack_is_missing(run, judged):
    assert missing_part(judged, 0, "dense") == ""
    file = run.arm(0, "dense").robustness
    rows = pd.read_csv(file, keep_default_na=False)
    rows[(rows.attack != "aa-apgd") | (rows.checkpoint != "best")].to_csv(file, index=False)
    assert missing_part(judged, 0, "dense") == f"{file} has no row of best under aa-apgd"
    assert missing_part(run, 0, "dense") == "", "a recipe without it needs none"


def test_rows_by_the_whole_are_marked_with_what_it_changed(judged):
    for seed, accuracy in enumerate(PAIR["ticket"]):
        add_row(judged, "ticket", seed, "last", "autoattack", accuracy - 0.005)
    add_row(judged, "dense", 0, "last", "autoattack", 0.1)  # of one seed alone
    table = table_of(judged)
    assert table.aa_last_mean["ticket"] == pytest.approx(0.300)
    assert table.aa_last_added["ticket"] == pytest.approx(-0.005)
    assert table.aa_last_mean["dense"] == pytest.approx(0.295)
    assert np.isnan(table.aa_last_added["dense"])
    assert list(table.judge) == ["aa-apgd"] * 2, "one yardstick for all rows"
    assert table.robust_vs_dense["ticket"] == pytest.approx(0.01)
    text = markdown(judged)
    assert "| 30.0§ (" in text
    assert text.count("§") == 2
    assert "FAB-T and Square changed these by so many points: `ticket` -0.5." in text
    assert "\\S{}" in latex(judged)


def test_where_all_rows_are_by_the_whole_they_are_judged_by_it(judged):
    for arm in PAIR:
        for seed in (0, 1):
            add_row(judged, arm, seed, "last", "autoattack", 0.2)
    assert "AA %" in heads(judged)
    table = table_of(judged)
    assert list(table.judge) == ["autoattack"] * 2
    assert list(table.robust_mean) == pytest.approx([0.2, 0.2])
    assert "Differences and verdicts rest on the whole of it" in markdown(judged)


def test_averaged_weights_stand_beside_the_last_epoch(judged):
    for seed in (0, 1):
        for attack, n in (("clean", 50), ("fgsm", 50), ("pgd-20", 50), ("aa-apgd", IMAGES)):
            add_row(judged, "ticket", seed, "average", attack, 0.4, n)
    table = table_of(judged)
    assert table.aa_average_mean["ticket"] == pytest.approx(0.4)
    assert np.isnan(table.aa_average_mean["dense"])
    titles, rows = titled_cells(timing(judged))
    place = titles.index("AA average %")
    assert [row[place][:6] for row in rows] == ["-", "40.0 ("]
    by_arm = results(judged)
    front = front_checkpoints(by_arm, judge(by_arm, judged.recipe))
    assert front == [("ticket", "average")], "cheaper than dense, and better than its own last epoch"


def test_the_front_is_that_of_flops_and_that_of_seconds(judged):
    by_arm = results(judged)
    assert front_checkpoints(by_arm, judge(by_arm, judged.recipe)) == [("ticket", "last")]
    for result in by_arm["ticket"]:
        result.ledger["charged_seconds"] = 100.0
    front = front_checkpoints(by_arm, judge(by_arm, judged.recipe))
    assert front == [("ticket", "last"), ("dense", "last")], "dense is the faster one"
