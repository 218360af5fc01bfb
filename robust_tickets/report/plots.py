"""The curves of a comparison and of an evaluation, as SVG: the same results give the same bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.eps import Eps
from robust_tickets.report.read import ArmResult, data_title, results
from robust_tickets.runs.directory import RunDirectory

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")


def curves(run: RunDirectory, file: Path) -> None:
    """Draw validation accuracy over epochs and FLOPs, search included: a thin line a seed, a thick mean."""
    recipe, by_arm = run.recipe, results(run)
    with svg_figure(file, (10, 6.4)) as figure:
        axes = figure.subplots(2, 2, sharey="row", sharex="col")
        for row, kind in enumerate(("robust", "clean")):
            for arm, seeds in by_arm.items():
                percents = [[100 * point[f"val_{kind}"] for point in result.curve] for result in seeds]
                epochs = [[point["epoch"] for point in result.curve] for result in seeds]
                _draw_arm(axes[row, 0], arm, epochs, percents)
                _draw_arm(axes[row, 1], arm, [_teraflops(result) for result in seeds], percents)
            axes[row, 0].set_ylabel(f"{kind} accuracy on validation, %")
        axes[1, 0].set_xlabel("epochs trained")
        axes[1, 1].set_xlabel("TFLOPs spent, the search or first stage included")
        # where this is left to the default and takes a second, matplotlib warns
        axes[0, 0].legend(loc="best", frameon=False, fontsize=8)
        figure.suptitle(
            f"{data_title(run)} · {recipe.model.name} × {recipe.model.width:g} · "
            f"PGD-{recipe.evaluate.val_steps}, {recipe.threat.norm} {recipe.threat.eps}",
            fontsize=10,
        )


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
            ax.errorbar(
                points.value + shift,
                100 * points.accuracy,
                yerr=[100 * (points.accuracy - points.low), 100 * (points.high - points.accuracy)],
                label="worst case" if worst else attack,
                color="#000000" if worst else _COLOURS[number % len(_COLOURS)],
                linestyle="--" if worst else "-",
                linewidth=1.4,
                marker="o",
                markersize=3,
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
        ax.legend(loc="best", frameon=False, fontsize=8)


@contextmanager
def svg_figure(file: Path, size: tuple[float, float]) -> Iterator[Any]:
    """A matplotlib figure (width and height in inches), written to the file at the end of the block."""
    import matplotlib  # takes longer to import than a command that draws nothing
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "robust-tickets", "font.size": 9, "svg.fonttype": "none"}):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        for ax in figure.axes:
            ax.grid(alpha=0.25)
            ax.spines[["top", "right"]].set_visible(False)
        figure.savefig(file, format="svg", metadata={"Date": None})


def _draw_arm(ax: Any, arm: str, xs: list[list[float]], ys: list[list[float]]) -> None:
    """Draw a line for each seed, and their mean."""
    colour = ARMS[arm].colour
    if len(xs) > 1:
        for x, y in zip(xs, ys, strict=True):
            ax.plot(x, y, color=colour, linewidth=0.7, alpha=0.45)
    # as far as all of them go: dense-best and searches that end early differ in length
    x, y = ([sum(values) / len(values) for values in zip(*lines, strict=False)] for lines in (xs, ys))
    ax.plot(x, y, color=colour, linewidth=1.8, marker="o", markersize=2.5, label=arm)


def _teraflops(result: ArmResult) -> list[float]:
    before = result.before["charged_flops"] if result.before else 0
    return [(before + point["flops"]) / 1e12 for point in result.curve]
