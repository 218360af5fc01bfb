"""The figure of a study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from robust_tickets.recipe.arms import ARMS
from robust_tickets.report.boosting import end_column
from robust_tickets.report.plots import svg_figure

_SPREAD = 0.5
"""The part of the distance between two settings that their arms take up."""


def study_plot(
    rows: pd.DataFrame, settings: Sequence[str], title: str, axis: str, metric: str, file: Path
) -> None:
    """Draw a study's arms over its settings as SVG: a point a seed, a line through the means.

    The panels are the mean height of the early validation curve, the test accuracy of the best epoch, and
    the FLOPs of dense over those of the arm to 90 % of dense's best. A study of one setting has its arms
    along the axis. The same rows give the same bytes.

    rows: those of `report.boosting`, with the column `setting`.
    settings: in the order of the axis.
    axis: the label of the horizontal axis.
    metric: robust or clean.
    """
    panels = (
        (f"early_{metric}", f"early {metric} accuracy on validation, %", 100.0),
        (end_column(metric), f"{'PGD-20' if metric == 'robust' else 'clean'} accuracy on test, %", 100.0),
        ("boosting_90", "FLOPs of dense / arm, to 90 % of dense's best", 1.0),
    )
    arms = list(rows.arm.drop_duplicates())
    arms_on_axis = len(settings) == 1
    with svg_figure(file, (13, 4.4)) as figure:
        axes = figure.subplots(1, 3)
        for ax, (column, label, scale) in zip(axes, panels, strict=True):
            for number, arm in enumerate(arms):
                shift = _SPREAD * (number - (len(arms) - 1) / 2) / len(arms)
                positions = [number if arms_on_axis else i + shift for i in range(len(settings))]
                of_arm = rows[rows.arm == arm]
                figures = [scale * of_arm[of_arm.setting == setting][column].dropna() for setting in settings]
                _draw(ax, positions, figures, arm)
            if arms_on_axis:
                ax.set_xticks(range(len(arms)), arms, rotation=40, ha="right")
            else:
                ax.set_xticks(range(len(settings)), settings)
                ax.set_xlabel(axis)
            ax.set_ylabel(label)
        axes[2].axhline(1, color="#000000", linewidth=0.7, linestyle=":")
        if not arms_on_axis:
            axes[0].legend(loc="best", frameon=False, fontsize=8)
        seeds = rows.seed.nunique()
        figure.suptitle(f"{title} · {seeds} seed{'s' * (seeds != 1)}", fontsize=10)


def _draw(ax: Any, positions: list[float], figures: list["pd.Series[float]"], arm: str) -> None:
    """Draw an arm: seeds as points, their means as a line, which breaks where there are none."""
    colour = ARMS[arm].colour
    for x, values in zip(positions, figures, strict=True):
        ax.plot([x] * len(values), list(values), "o", color=colour, markersize=3, alpha=0.55)
    means = [values.mean() for values in figures]  # NaN of nothing
    line = "_-" if len(positions) > 1 else "_"
    ax.plot(positions, means, line, color=colour, markersize=9, label=arm)
