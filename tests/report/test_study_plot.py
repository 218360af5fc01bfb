"""The figure of a study: intervals are those of scipy, titles name all, and no legend covers data."""

import math
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from robust_tickets.recipe.fields import Evaluate
from robust_tickets.report import eps_plot, figures, stability, study_plot
from robust_tickets.report.stability import stability_plot

VALUES = {"dense": [0.10, 0.12, 0.13], "ticket": [0.14, 0.15, 0.17], "ticket+pgd3": [0.11, 0.16, 0.18]}


def rows(seeds=3):
    records = [
        {
            "setting": setting,
            "arm": arm,
            "seed": seed,
            "early_robust": value + step,
            "test_pgd20_last": 2 * value,
        }
        | {"boosting_90": 10 * value if arm != "dense" else 1.0}
        for setting, step in (("a", 0.0), ("b", 0.05))
        for arm, values in VALUES.items()
        for seed, value in enumerate(values[:seeds])
    ]
    return pd.DataFrame(records)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that a block draws, beside their files."""
    kept = []

    @contextmanager
    def keeping(file, size):
        with figures.svg_figure(file, size) as figure:
            kept.append(figure)
            yield figure

    for module in (study_plot, stability, eps_plot):
        monkeypatch.setattr(module, "svg_figure", keeping)
    return kept


def intervals(ax):
    """The ends of the vertical lines."""
    lines = [line.get_xydata() for line in ax.lines if line.get_marker() in ("", "None")]
    return [tuple(points[:, 1]) for points in lines if len(set(points[:, 0])) == 1]


def check_legends(figure):
    figure.draw_without_rendering()
    panels = [ax.get_tightbbox() for ax in figure.axes]
    boxes = [legend.get_window_extent() for legend in figure.legends]
    assert boxes
    assert not [ax for ax in figure.axes if ax.get_legend()]
    assert not [1 for box in boxes for panel in panels if box.overlaps(panel)]


def test_intervals_are_students_and_those_of_ratios_of_their_logarithms(drawn, tmp_path):
    study_plot.study_plot(
        rows(), ["a", "b"], ["a study of x", "a claim: holds"], "x", Evaluate(), tmp_path / "f"
    )
    early, _, ratios = drawn[0].axes
    expected = []
    for values in VALUES.values():
        for step in (0.0, 5.0):
            percent = 100 * np.array(values) + step
            expected.append(stats.t.interval(0.95, 2, loc=np.mean(percent), scale=stats.sem(percent)))
    np.testing.assert_allclose(intervals(early), expected)
    logarithms = np.log(10 * np.array(VALUES["ticket"]))
    ends = np.exp(stats.t.interval(0.95, 2, loc=np.mean(logarithms), scale=stats.sem(logarithms)))
    np.testing.assert_allclose(intervals(ratios)[2:4], [ends, ends])
    assert drawn[0].get_suptitle() == "a study of x\na claim: holds"
    check_legends(drawn[0])


def test_long_settings_stand_on_lines_of_their_own(drawn, tmp_path):
    settings = ["a", "train.method=nfgsm train.lr=0.3"]
    data = rows().replace({"setting": {"b": settings[1]}})
    study_plot.study_plot(data, settings, ["t"], "x", Evaluate(), tmp_path / "f")
    for ax in drawn[0].axes:
        assert [label.get_text() for label in ax.get_xticklabels()] == [
            "a",
            "train.method=nfgsm\ntrain.lr=0.3",
        ]
    check_legends(drawn[0])


def test_two_seeds_have_no_interval(drawn, tmp_path):
    study_plot.study_plot(rows(2), ["a", "b"], ["t"], "x", Evaluate(), tmp_path / "f")
    assert [intervals(ax) for ax in drawn[0].axes] == [[], [], []]


@pytest.mark.parametrize(
    ("values", "ratios", "expected"),
    [
        ([], True, math.nan),
        ([2.0, 8.0], True, 4.0),
        ([2.0, 8.0], False, 5.0),
        ([1.0, math.inf], True, math.inf),
    ],
)
def test_means_of_ratios_are_geometric(values, ratios, expected):
    middle, ends = study_plot._mean_and_interval(values, ratios)
    assert middle == pytest.approx(expected, nan_ok=True)
    assert ends is None


def test_legends_of_other_figures_cover_no_data(drawn, tmp_path):
    errors = pd.DataFrame(
        {"place": [0, 0.5, 1], "clean_error": [0.1, 0.3, 0.1], "robust_error": [0.2, 0.3, 0.2]}
    )
    stability_plot(errors, "t", tmp_path / "a.svg")
    about = {"norm": "Linf", "source": "", "n": 100, "split": "test", "low": 0.1, "high": 0.9}
    attacks = [*(f"pgd-{n}" for n in range(9)), "worst-case"]
    table = pd.DataFrame(
        [
            about | {"attack": attack, "eps": eps, "accuracy": 0.5}
            for attack in attacks
            for eps in ("1/255", "0.5")
        ]
    )
    eps_plot.robustness_curve(table, tmp_path / "b.svg", "t")
    for figure in drawn:
        check_legends(figure)
    lines = [container.lines[0] for container in drawn[1].axes[0].containers]
    looks = {(line.get_color(), str(line.get_linestyle()), line.get_marker()) for line in lines}
    assert len(looks) == len(attacks)


def test_the_best_epoch_is_drawn_where_autoattack_judges_it_alone(tmp_path, drawn):
    own = rows().rename(columns={"test_pgd20_last": "test_aa"})
    evaluate = Evaluate(aa_images=10, aa_checkpoints=("best",))
    study_plot.study_plot(own, ["a", "b"], ["title"], "axis", evaluate, tmp_path / "x.svg")
    labels = [axes.get_ylabel() for axes in drawn[0].axes]
    assert "AA (APGD-CE, APGD-T) accuracy on test, best epoch, %" in labels
