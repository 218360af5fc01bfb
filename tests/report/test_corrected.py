"""Contrasts of one experiment: p-values as scipy's, corrected as closed testing says."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from robust_tickets.report.corrected import holm, judge, p_value

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize("n", [3, 4, 6])
@pytest.mark.parametrize(
    ("question", "bound", "alternative"), [("different", 0, "two-sided"), ("not worse", -0.01, "greater")]
)
def test_p_values_are_scipy_s(n, question, bound, alternative):
    differences = GENERATOR.normal(0.005, 0.01, n)
    expected = stats.ttest_1samp(differences, bound, alternative=alternative).pvalue
    assert p_value(list(differences), question) == pytest.approx(expected)


@pytest.mark.parametrize("n", range(1, 6))
def test_holm_is_the_closure_of_bonferroni(n):
    """Each hypothesis is rejected where Bonferroni rejects every set of hypotheses that it is one of."""
    for _ in range(50):
        p = list(GENERATOR.uniform(0, 0.5, n) ** 2)
        closed = [
            max(
                min(1.0, size * min(p[j] for j in subset))
                for size in range(1, n + 1)
                for subset in combinations(range(n), size)
                if i in subset
            )
            for i in range(n)
        ]
        assert holm(p) == pytest.approx(closed)


def test_none_is_corrected_to_nothing():
    assert holm([]) == []


def test_a_true_null_is_rejected_in_one_experiment_of_twenty():
    """Of four contrasts without any difference, over many experiments of six seeds."""
    experiments = 600
    wrong = 0
    for _ in range(experiments):
        contrasts = [(str(i), "different", list(GENERATOR.normal(0, 1, 6))) for i in range(4)]
        wrong += any(tested.is_shown for tested in judge(contrasts))
    assert wrong <= stats.binom(experiments, 0.05).ppf(0.9999)


@pytest.mark.parametrize(
    ("differences", "question", "end"),
    [
        ((0.02, 0.021, 0.019), "different", ": shown to be more"),
        ((-0.02, -0.021, -0.019), "different", ": shown to be less"),
        ((0.02, -0.02, 0.01), "different", ": undecided"),
        ((-0.001, 0.0, 0.001), "not worse", ": shown to be less than 1 point worse"),
        ((-0.02, -0.02, 0.01), "not worse", ": not shown to be less than 1 point worse"),
        ((-0.03, -0.031, -0.03), "not worse", ", and the interval says it is more than 1 point worse"),
        ((0.01, 0.01, 0.01), "different", ": shown to be more"),
        ((0.0, 0.0, 0.0), "different", ": undecided"),
        ((0.1, 0.1), "different", ": undecided, as a verdict needs 3 seeds"),
        ((0.1,), "not worse", ": undecided, as a verdict needs 3 seeds"),
    ],
)
def test_a_line_says_what_was_shown(differences, question, end):
    (tested,) = judge([("T - S", question, differences)])
    assert str(tested).startswith("T - S: ")
    assert str(tested).endswith(end)


def test_a_contrast_that_is_shown_alone_is_not_among_many():
    differences = (0.010, 0.012, 0.016)
    alone = judge([("a", "different", differences)])
    among = judge(
        [("a", "different", differences), *[(str(i), "different", (0.01, -0.01, 0.0)) for i in range(5)]]
    )
    assert alone[0].is_shown
    assert not among[0].is_shown
    assert among[0].corrected == pytest.approx(6 * alone[0].p_value)
