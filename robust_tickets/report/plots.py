"""The curves of a comparison."""

from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.eps import Eps
from robust_tickets.report.read import ArmResult
from robust_tickets.report.tables import data_title, results
from robust_tickets.runs.directory import RunDirectory

_LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")


def curves(run: RunDirectory, file: Path) -> None:
    """Draw validation accuracy over epochs and over FLOPs, search included, as SVG: a thin line a seed, a
    thick mean.

    The same results give the same bytes.
    """
    found = results(run)
    with matplotlib.rc_context({"svg.hashsalt": "robust-tickets", "font.size": 9, "svg.fonttype": "none"}):
        figure = Figure(figsize=(10, 6.4), layout="constrained")
        axes = figure.subplots(2, 2, sharey="row", sharex="col")
        for row, (key, label) in enumerate((("val_robust", "robust"), ("val_clean", "clean"))):
            for arm, seeds in found.items():
                _draw(axes[row, 0], arm, [([p["epoch"] for p in r.curve], _percent(r, key)) for r in seeds])
                _draw(axes[row, 1], arm, [(_flops(r), _percent(r, key)) for r in seeds])
            axes[row, 0].set_ylabel(f"{label} accuracy on validation, %")
        axes[1, 0].set_xlabel("epochs trained")
        axes[1, 1].set_xlabel("TFLOPs spent, the search or first stage included")
        for ax in axes.flat:
            ax.grid(alpha=0.25)
            ax.spines[["top", "right"]].set_visible(False)
        # the place is asked for, as where it is a default and takes a second to find, matplotlib warns
        axes[0, 0].legend(loc="best", frameon=False, fontsize=8)
        figure.suptitle(
            f"{data_title(run)} · {run.recipe.model.name} × {run.recipe.model.width:g} · "
            f"PGD-{run.recipe.evaluate.val_steps}, {run.recipe.threat.norm} {run.recipe.threat.eps}",
            fontsize=10,
        )
        figure.savefig(file, format="svg", metadata={"Date": None})


def _draw(ax: Any, arm: str, lines: list[tuple[list[float], list[float]]]) -> None:
    colour = ARMS[arm].colour
    if len(lines) > 1:
        for x, y in lines:
            ax.plot(x, y, color=colour, linewidth=0.7, alpha=0.45)
    # as far as all of them go: dense-best and searches that end early differ in length
    x, y = (
        [sum(values) / len(values) for values in zip(*(line[i] for line in lines), strict=False)]
        for i in (0, 1)
    )
    ax.plot(x, y, color=colour, linewidth=1.8, marker="o", markersize=2.5, label=arm)


def _percent(result: ArmResult, key: str) -> list[float]:
    return [100 * point[key] for point in result.curve]


def _flops(result: ArmResult) -> list[float]:
    before = result.before["charged_flops"] if result.before else 0
    return [(before + point["flops"]) / 1e12 for point in result.curve]


def robustness_curve(rows: pd.DataFrame, file: Path, title: str = "") -> None:
    """Draw robust accuracy over eps as SVG, a line an attack with its 95 % intervals.

    rows: those of a robustness.csv, of one checkpoint. The points of an eps stand a little apart, so that
    equal ones are all seen. The same rows give the same bytes.
    """
    rows = rows.assign(value=[Eps(text).value for text in rows.eps])
    apart = 0.006 * rows.value.max()
    with matplotlib.rc_context({"svg.hashsalt": "robust-tickets", "font.size": 9, "svg.fonttype": "none"}):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        ax = figure.subplots()
        for number, (attack, found) in enumerate(rows.groupby("attack", sort=False)):
            found = found.sort_values("value")
            shift = apart * (number - (rows.attack.nunique() - 1) / 2)
            worst = str(attack).startswith("worst-case")
            ax.errorbar(
                found.value + shift,
                100 * found.accuracy,
                yerr=[100 * (found.accuracy - found.low), 100 * (found.high - found.accuracy)],
                label="worst case" if worst else attack,
                color="#000000" if worst else _LINES[number % len(_LINES)],
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
        made = ", attacked on another net" if rows.source.iloc[0] else ""
        ax.set_ylabel(f"accuracy on {rows.n.iloc[0]:,} {rows.split.iloc[0]} images{made}, %")
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(loc="best", frameon=False, fontsize=8)
        figure.savefig(file, format="svg", metadata={"Date": None})
