"""The figure of a study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from robust_tickets.recipe.arms import ARMS
from robust_tickets.report.boosting import end_column

_SPREAD = 0.5
"""Of the distance between two settings, how much their arms take up."""


def study_plot(rows: pd.DataFrame, settings: Sequence[str], name: str, metric: str, file: Path) -> None:
    """Draw a study's arms over its settings as SVG: a point a seed, a line through the means.

    Beside each other: the mean height of the early validation curve, the test accuracy at the end, and
    dense's FLOPs over the arm's to 90 % of dense's best. rows: as `report.boosting` has them, with `setting`;
    metric: robust or clean. A study of one setting has its arms along the axis. The same rows give the same
    bytes.
    """
    panels = (
        (f"early_{metric}", f"early {metric} accuracy on validation, %", 100.0),
        (end_column(metric), f"{'PGD-20' if metric == 'robust' else 'clean'} accuracy on test, %", 100.0),
        ("boosting_90", "FLOPs of dense / arm, to 90 % of dense's best", 1.0),
    )
    arms = list(rows.arm.drop_duplicates())
    alone = len(settings) == 1
    with matplotlib.rc_context({"svg.hashsalt": "robust-tickets", "font.size": 9, "svg.fonttype": "none"}):
        figure = Figure(figsize=(13, 4.4), layout="constrained")
        axes = figure.subplots(1, 3)
        for ax, (column, label, scale) in zip(axes, panels, strict=True):
            for number, arm in enumerate(arms):
                shift = 0.0 if alone else _SPREAD * (number - (len(arms) - 1) / 2) / len(arms)
                places = [number if alone else i + shift for i in range(len(settings))]
                found = [
                    scale * rows[(rows.setting == s) & (rows.arm == arm)][column].dropna() for s in settings
                ]
                _draw(ax, places, found, arm)
            if alone:
                ax.set_xticks(range(len(arms)), arms, rotation=40, ha="right")
            else:
                ax.set_xticks(range(len(settings)), settings)
                ax.set_xlabel(f"{name}")
            ax.set_ylabel(label)
            ax.grid(alpha=0.25)
            ax.spines[["top", "right"]].set_visible(False)
        axes[2].axhline(1, color="#000000", linewidth=0.7, linestyle=":")
        if not alone:
            axes[0].legend(loc="best", frameon=False, fontsize=8)
        seeds = rows.seed.nunique()
        figure.suptitle(f"study {name} · {seeds} seed{'s' * (seeds != 1)}", fontsize=10)
        figure.savefig(file, format="svg", metadata={"Date": None})


def _draw(ax: Any, places: list[float], found: list["pd.Series[float]"], arm: str) -> None:
    """Seeds as points, their means as a line, broken where there is none."""
    colour = ARMS[arm].colour
    for x, values in zip(places, found, strict=True):
        ax.plot([x] * len(values), list(values), "o", color=colour, markersize=3, alpha=0.55)
    means = [values.mean() for values in found]  # NaN of nothing
    ax.plot(places, means, "_-" if len(places) > 1 else "_", color=colour, markersize=9, label=arm)
