"""The table of head starts: how fast each arm gets where, and what of it is more than chance."""

import math

import pandas as pd

from robust_tickets.report.boosting import boosting
from robust_tickets.report.claims import contrast
from robust_tickets.report.tables import heading
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import csv_text

TARGET = 90
"""Percent of dense's best that the table is about; boosting.csv has others too."""

TITLES = (
    "arm",
    "epoch 1, clean %",
    "epoch 1, robust %",
    "early area %",
    "- dense's, points",
    f"passes to {TARGET} %, M",
    "boosting",
    "with search",
    "early stop at step",
    "- dense's, steps",
    "clean there %",
    "- dense's, points",
)


def boosting_csv(run: RunDirectory) -> str:
    """How fast each arm and seed gets where, as CSV."""
    return csv_text(boosting(run), 6)


def boosting_markdown(run: RunDirectory) -> str:
    """The same for people: means over seeds, differences from dense with their intervals."""
    rows = boosting(run)
    metric = run.recipe.evaluate.select_by
    lines = ["| " + " | ".join(TITLES) + " |", "|" + " --- |" + " ---: |" * (len(TITLES) - 1)]
    lines += ["| " + " | ".join(_cells(arm, rows, metric)) + " |" for arm in rows.arm.drop_duplicates()]
    span = run.recipe.evaluate.early_epochs
    area = (
        f"`early area` is the mean height of the {metric} validation curve over the first {span} "
        f"epoch{'s' * (span != 1)}"
        if span
        else "there is no early area, as evaluate.early_epochs is 0"
    )
    about = (
        f"Validation images; means over seeds. {area[0].upper()}{area[1:]}. Differences are paired by "
        "seed, with the 95 % interval of Student's t, and from the dense arm whose schedule is as long "
        "(`dense-short` for tickets on a shorter one), as warm-up and milestones are shares of "
        "it; `-`: there is "
        "none. `boosting` is dense's FLOPs over the arm's, to the "
        f"validation at which {TARGET} % of dense's best {metric} accuracy was first seen, without the "
        "search and with it, the geometric mean over seeds; `-`: a seed never got there, inf: one was there "
        "untrained. `early stop` is the step of the lowest clean validation loss: a winning ticket stops no "
        "later than dense as long, and is no worse there."
    )
    return "\n\n".join([f"**{heading(run)}**", "\n".join(lines), about]) + "\n"


def _cells(arm: str, rows: pd.DataFrame, metric: str) -> list[str]:
    found, dense = rows[rows.arm == arm], _dense_as_long(arm, rows)
    early = f"early_{metric}"
    ratio = f"boosting_{TARGET}"

    def percent(column: str) -> str:
        return _mean(100 * found[column], ".1f")

    return [
        arm,
        percent("epoch1_clean"),
        percent("epoch1_robust"),
        percent(early),
        _difference(found, dense, early, 100),
        _mean(found[f"passes_to_{TARGET}"] / 1e6, ".3f"),
        _geometric_mean(found[ratio]),
        _geometric_mean(found[f"{ratio}_with_search"]),
        _mean(found.early_stop_step, ".0f"),
        _difference(found, dense, "early_stop_step", 1),
        percent("early_stop_clean"),
        _difference(found, dense, "early_stop_clean", 100),
    ]


def _dense_as_long(arm: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the dense arm on a schedule of the same length; none where there is no such arm."""
    if arm == "dense-best":
        return rows[rows.arm == "dense"]  # which it is, until it is stopped
    epochs = list(rows[rows.arm == arm].epochs)
    for dense in ("dense", "dense-short", "dense-equal-cost"):
        if list(rows[rows.arm == dense].epochs) == epochs:
            return rows[rows.arm == dense]
    return rows[:0]


def _mean(values: "pd.Series[float]", form: str) -> str:
    return "-" if values.isna().any() else f"{values.mean():{form}}"


def _geometric_mean(ratios: "pd.Series[float]") -> str:
    if ratios.isna().any():
        return "-"
    return f"{math.prod(ratios) ** (1 / len(ratios)):.2f}"


def _difference(found: pd.DataFrame, dense: pd.DataFrame, column: str, scale: float) -> str:
    """The mean difference from a dense arm and its interval; nothing for that arm itself."""
    if found.equals(dense):
        return ""
    if dense.empty:
        return "-"
    if found[column].isna().any() or dense[column].isna().any():
        return "-"
    of = contrast("", list(found[column]), list(dense[column]))
    mean = sum(of.differences) / len(of.differences)
    between = of.between
    shown = f" ({scale * between[0]:+.1f} to {scale * between[1]:+.1f})" if between else ""
    return f"{scale * mean:+.1f}{shown}"
