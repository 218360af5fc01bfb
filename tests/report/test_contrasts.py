"""The contrasts of a recipe under its table and as CSV: differences of the accuracies that decide."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from robust_tickets.recipe.fields import Compare
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.contrasts import contrasts_csv, contrasts_note, judged_contrasts
from robust_tickets.report.read import ArmResult
from robust_tickets.report.terminal import summary
from robust_tickets.report.timing_text import markdown
from robust_tickets.report.write import write_report
from robust_tickets.runs.directory import RunDirectory

ROBUST = {
    "dense": [0.300, 0.310, 0.290, 0.305],
    "ticket": [0.320, 0.331, 0.312, 0.324],
    "random": [0.299, 0.312, 0.288, 0.306],
}
CLEAN = {arm: [0.9 - accuracy for accuracy in seeds] for arm, seeds in ROBUST.items()}
CONTRASTS = ("ticket minus dense", "ticket minus random", "random not worse than dense")
RECIPE = replace(Recipe(), compare=Compare(tuple(ROBUST), CONTRASTS))

BY_ARM = {
    arm: [
        ArmResult(arm, n, {}, {}, None, [], {("last", "pgd-20"): robust, ("last", "clean"): CLEAN[arm][n]})
        for n, robust in enumerate(seeds)
    ]
    for arm, seeds in ROBUST.items()
}


def test_each_is_tested_on_its_own_arms_and_all_are_corrected_together():
    tested = judged_contrasts(BY_ARM, RECIPE)
    array = {arm: np.array(seeds) for arm, seeds in ROBUST.items()}
    p_values = [
        stats.ttest_rel(array["ticket"], array["dense"]).pvalue,
        stats.ttest_rel(array["ticket"], array["random"]).pvalue,
        stats.ttest_1samp(array["random"] - array["dense"], -0.01, alternative="greater").pvalue,
    ]
    assert [each.p_value for each in tested] == pytest.approx(p_values)
    first, second, last = np.argsort(p_values)
    assert tested[first].corrected == pytest.approx(3 * p_values[first])
    assert tested[second].corrected == pytest.approx(max(3 * p_values[first], 2 * p_values[second]))
    assert tested[last].corrected >= p_values[last]


def test_natural_trainings_are_compared_by_clean_accuracy():
    natural = replace(RECIPE, evaluate=replace(RECIPE.evaluate, select_by="clean"))
    assert (
        "by clean accuracy (the other sentences here are on robust accuracy) after the last"
        in contrasts_note(BY_ARM, natural)
    )
    robust, clean = judged_contrasts(BY_ARM, RECIPE)[0], judged_contrasts(BY_ARM, natural)[0]
    assert clean.differences == pytest.approx([-difference for difference in robust.differences])


def test_the_text_names_the_attack_the_correction_and_each_verdict():
    note = contrasts_note(BY_ARM, RECIPE)
    assert note.startswith(
        "**Contrasts of the recipe**, by accuracy under PGD-20 after the last epoch, p-values corrected for "
        "3 (Holm). `ticket` minus `dense`: +2.1 points"
    )
    assert note.endswith(
        "`random` minus `dense`: +0.0 points (95 % interval -0.3 to +0.3), p below 0.001, "
        "corrected 0.001: shown to be less than 1 point worse."
    )


def test_the_text_says_which_arm_has_its_best_epoch():
    arms = (*ROBUST, "dense-best")
    recipe = replace(RECIPE, compare=Compare(arms, ("ticket minus dense-best",)))
    note = contrasts_note({**BY_ARM, "dense-best": BY_ARM["dense"]}, recipe)
    assert "under PGD-20 after the last epoch (`dense-best`: of the best). " in note


def test_a_recipe_without_contrasts_has_no_text():
    assert contrasts_note(BY_ARM, replace(RECIPE, compare=Compare(tuple(ROBUST)))) == ""


def test_the_report_of_a_run_has_them(run):
    recipe = replace(run.recipe, compare=replace(run.recipe.compare, contrasts=("ticket minus dense",)))
    asked = RunDirectory(run.path, recipe)
    text = "`ticket` minus `dense`: -2.5 points: undecided, as a verdict needs 3 seeds."
    assert text in markdown(asked)
    assert text.replace("`", "") in " ".join(summary(asked).split())
    row = pd.read_csv(io.StringIO(contrasts_csv(asked))).iloc[0]
    assert (row["first"], row.second, row.seeds, row.is_shown) == ("ticket", "dense", 2, False)
    assert row[["low", "high", "p_value", "corrected"]].isna().all()
    assert row["mean"] == pytest.approx(-0.025)


def test_only_a_run_with_contrasts_has_their_file(run):
    write_report(run)
    assert not run.contrasts_csv.exists()
