"""Contrasts over several parts of an experiment, named in plan.toml beforehand and corrected together.

    [[contrasts]]
    label = "natural: slope of ticket - dense"
    figure = "early_clean"
    terms = [[-0.5, "natural-0125", "ticket"], [0.5, "natural-0125", "dense"], ...]

A contrast is a weighted sum over arms of parts, a number for each seed that all of them have. `figure` is a
column of `robust_tickets.report.boosting`; `described` names others, whose means stand beside.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd

from robust_tickets.report.boosting import boosting
from robust_tickets.report.corrected import Tested, judge
from robust_tickets.report.verdict import LEAST_SEEDS, interval
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import csv_text, write_text

DIGITS = 6


def figures_of(
    root: Path, contrasts: Sequence[Mapping[str, Any]], described: Sequence[str] = ()
) -> pd.DataFrame:
    """The figures that contrasts are of: a row a part, arm and seed, of the parts that have run."""
    columns = list(dict.fromkeys([*(contrast["figure"] for contrast in contrasts), *described]))
    parts = dict.fromkeys(part for contrast in contrasts for _, part, _ in contrast["terms"])
    rows = []
    for part in parts:
        if (root / part / "run").is_dir():
            table = boosting(RunDirectory.open(root / part / "run"))
            rows.append(table[["arm", "seed", *columns]].assign(part=part))
    if not rows:
        return pd.DataFrame(columns=["part", "arm", "seed", *columns])
    return pd.concat(rows, ignore_index=True)[["part", "arm", "seed", *columns]]


def differences(figures: pd.DataFrame, contrast: Mapping[str, Any]) -> dict[int, float]:
    """The weighted sum of a contrast for each seed that has all of its terms."""
    values = figures.set_index(["part", "arm", "seed"])[contrast["figure"]].sort_index()
    cells = [(weight, values.get((part, arm))) for weight, part, arm in contrast["terms"]]
    if any(cell is None for _, cell in cells):
        return {}
    seeds = set.intersection(*(set(cell.index) for _, cell in cells))
    return {seed: sum(weight * cell[seed] for weight, cell in cells) for seed in sorted(seeds)}


def judged_contrasts(figures: pd.DataFrame, contrasts: Sequence[Mapping[str, Any]]) -> list[Tested]:
    """All contrasts of an experiment, tested together."""
    return judge([(c["label"], "different", list(differences(figures, c).values())) for c in contrasts])


def write_contrasts(root: Path, plan: Mapping[str, Any]) -> None:
    """Write contrasts.csv and contrasts.md into the folder of an experiment, from the seeds so far."""
    contrasts = plan["contrasts"]
    figures = figures_of(root, contrasts, plan.get("described", []))
    judged = judged_contrasts(figures, contrasts)
    lines = ["# Contrasts", "", f"P-values are corrected for {len(judged)} (Holm).", ""]
    lines += [f"- {each}" if each.differences else f"- {each.label}: no seed yet" for each in judged]
    lines += ["", *_means(figures)]
    write_text(root / "contrasts.csv", csv_text(figures, DIGITS))
    write_text(root / "contrasts.md", "\n".join(lines) + "\n")


def _means(figures: pd.DataFrame) -> list[str]:
    """Means over seeds with their 95 % intervals, in points, as a Markdown table."""
    columns = list(figures.columns[3:])
    lines = [
        f"| part | arm | seeds | {' | '.join(f'{column}, points' for column in columns)} |",
        f"| --- | --- | ---: |{' --- |' * len(columns)}",
    ]
    for (part, arm), rows in figures.groupby(["part", "arm"], sort=False):
        cells = (_cell(list(rows[column].dropna())) for column in columns)
        lines.append(f"| {part} | {arm} | {len(rows)} | {' | '.join(cells)} |")
    return lines


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    text = f"{100 * mean(values):.1f}"
    if len(values) < LEAST_SEEDS:
        return text
    low, high = interval(values)
    return f"{text} ({100 * low:.1f} to {100 * high:.1f})"
