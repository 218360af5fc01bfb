"""The curves of an evaluation over several eps, as SVG: the same results give the same bytes."""

from pathlib import Path

import pandas as pd

from robust_tickets.recipe.eps import Eps
from robust_tickets.report.arm_styles import DASHES, MARKERS, PALETTE
from robust_tickets.report.figures import legend_below, svg_figure


def robustness_curve(rows: pd.DataFrame, file: Path, title: str = "") -> None:
    """Draw robust accuracy over eps, a line an attack with its 95 % intervals.

    rows: those of a robustness.csv, of one checkpoint. The points of an eps stand a little apart, so that
        equal ones are all seen.
    """
    rows = rows.assign(value=[Eps(text).value for text in rows.eps])
    gap = 0.006 * rows.value.max()
    with svg_figure(file, (6.4, 4.2)) as figure:
        ax = figure.subplots()
        for number, (attack, points) in enumerate(rows.groupby("attack", sort=False)):
            points = points.sort_values("value")
            shift = gap * (number - (rows.attack.nunique() - 1) / 2)
            worst = str(attack).startswith("worst-case")
            turn = number // len(PALETTE)
            ax.errorbar(
                points.value + shift,
                100 * points.accuracy,
                yerr=[100 * (points.accuracy - points.low), 100 * (points.high - points.accuracy)],
                label="worst case" if worst else attack,
                color="#000000" if worst else PALETTE[number % len(PALETTE)],
                linestyle="--" if worst else DASHES[turn % len(DASHES)],
                linewidth=1.4,
                marker=MARKERS[number % len(MARKERS)],
                markersize=4,
                capsize=2,
            )
        ax.set_title(title, fontsize=9)
        ticks = rows.drop_duplicates("eps")
        ax.set_xticks(ticks.value, ticks.eps)
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=0)
        ax.set_xlabel(f"eps, {rows.norm.iloc[0]}")
        transfer = ", attacked on another network" if rows.source.iloc[0] else ""
        ax.set_ylabel(f"accuracy on {rows.n.iloc[0]:,} {rows.split.iloc[0]} images{transfer}, %")
        legend_below(figure)
