"""The figure of a study."""

import textwrap
from collections.abc import Sequence
from math import exp, inf, log, nan
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd

from robust_tickets.recipe.fields import Evaluate
from robust_tickets.report.arm_styles import ArmStyle, arm_styles
from robust_tickets.report.boosting import end_title, first_end
from robust_tickets.report.figures import legend_below, svg_figure
from robust_tickets.report.verdict import LEAST_SEEDS, interval

_SPREAD = 0.5
"""The part of the distance between two settings that their arms take up."""

_TICK_COLUMNS = 12
"""Characters of a setting that fit beside others on an axis."""

_TITLE_COLUMNS = 150
"""Characters that fit on a line of the title."""


def study_plot(
    rows: pd.DataFrame,
    settings: Sequence[str],
    title: Sequence[str],
    axis: str,
    evaluate: Evaluate,
    file: Path,
) -> None:
    """Draw a study's arms over its settings as SVG: a point a seed, a line through the means, 95 % intervals.

    The panels are the mean height of the early validation curve, the test accuracy of the last epoch, and
    the FLOPs of dense over those of the arm to 90 % of dense's best, whose means are geometric. A study of
    one setting has its arms along the axis. The same rows give the same bytes.

    rows: those of `report.boosting`, with the column `setting`.
    settings: in the order of the axis.
    title: lines of text above the panels.
    axis: the label of the horizontal axis.
    evaluate: says which accuracies decide.
    """
    metric = evaluate.select_by
    checkpoint, end = first_end(evaluate)
    panels = (
        (f"early_{metric}", f"early {metric} accuracy on validation, %", 100.0),
        (end, f"{end_title(evaluate)} accuracy on test, {checkpoint} epoch, %", 100.0),
        ("boosting_90", "FLOPs of dense / arm, to 90 % of dense's best", 1.0),
    )
    arms = list(rows.arm.drop_duplicates())
    styles = arm_styles(arms)
    arms_on_axis = len(settings) == 1
    lines = [part for line in title for part in textwrap.wrap(line, _TITLE_COLUMNS)]
    with svg_figure(file, (13, 4.4 + 0.16 * len(lines))) as figure:
        axes = figure.subplots(1, 3)
        for ax, (column, label, scale) in zip(axes, panels, strict=True):
            for number, arm in enumerate(arms):
                shift = _SPREAD * (number - (len(arms) - 1) / 2) / len(arms)
                positions = [number if arms_on_axis else i + shift for i in range(len(settings))]
                of_arm = rows[rows.arm == arm]
                figures = [scale * of_arm[of_arm.setting == setting][column].dropna() for setting in settings]
                look: dict[str, Any] = {"label": arm, **_look(styles[arm], len(settings) > 1)}
                _draw(ax, positions, figures, look, ratios=column.startswith("boosting"))
            if arms_on_axis:
                ax.set_xticks(range(len(arms)), arms, rotation=40, ha="right")
            else:
                ax.set_xticks(range(len(settings)), settings)
                if max(map(len, settings)) > _TICK_COLUMNS:
                    labels = ["\n".join(setting.split()) for setting in settings]
                    ax.set_xticks(range(len(settings)), labels, rotation=25, ha="right", fontsize=7)
                ax.set_xlabel(axis)
            ax.set_ylabel(label)
        axes[2].axhline(1, color="#000000", linewidth=0.7, linestyle=":")
        if not arms_on_axis:
            legend_below(figure, columns=6)
        figure.suptitle("\n".join(lines), fontsize=10, parse_math=False)


def _draw(
    ax: Any, positions: list[float], figures: list["pd.Series[float]"], look: dict[str, Any], ratios: bool
) -> None:
    """Draw an arm: seeds as points, their means as a line, which breaks where there are none, and intervals.

    look: of the line, as matplotlib's `Axes.plot` has it.
    ratios: whether the means are geometric.
    """
    means = []
    for x, values in zip(positions, figures, strict=True):
        ax.plot([x] * len(values), list(values), ".", color=look["color"], markersize=5, alpha=0.55)
        middle, ends = _mean_and_interval(list(values), ratios)
        means.append(middle)
        if ends is not None:
            ax.plot([x, x], ends, color=look["color"], linewidth=0.9, alpha=0.7)
    ax.plot(positions, means, **look)


def _look(style: ArmStyle, joined: bool) -> dict[str, Any]:
    return {
        "color": style.colour,
        "linestyle": style.dash if joined else "none",
        "marker": style.marker,
        "markerfacecolor": style.face,
        "markersize": 6,
    }


def _mean_and_interval(values: list[float], ratios: bool) -> tuple[float, tuple[float, float] | None]:
    """The mean, NaN of nothing, and the 95 % interval of Student's t where there are enough seeds for one.

    Those of ratios are of their logarithms, so that no interval reaches zero.
    """
    if not values:
        return nan, None
    if ratios and not all(0 < value < inf for value in values):
        return mean(values), None
    numbers = [log(value) for value in values] if ratios else values
    ends = interval(numbers) if len(numbers) >= LEAST_SEEDS else None
    if not ratios:
        return mean(numbers), ends
    return exp(mean(numbers)), ends and (exp(ends[0]), exp(ends[1]))
