"""The table of early advantages: how soon each arm reaches an accuracy, with intervals."""

import math

import pandas as pd

from robust_tickets.report.boosting import boosting
from robust_tickets.report.claims import contrast
from robust_tickets.report.document import Document, markdown
from robust_tickets.report.read import heading
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
    """How soon each arm and seed reaches an accuracy, as CSV."""
    return csv_text(boosting(run), 6)


def boosting_markdown(run: RunDirectory) -> str:
    """The same for people: means over seeds, differences from dense with their intervals."""
    titles, cells, about = boosting_cells(run)
    return markdown(Document(heading(run), "", titles, cells, [about]))


def boosting_cells(run: RunDirectory) -> tuple[list[str], list[list[str]], str]:
    """The heads of the columns, a row of texts an arm, and how to read them."""
    rows = boosting(run)
    metric = run.recipe.evaluate.select_by
    span = run.recipe.evaluate.early_epochs
    area = (
        f"`early area` is the mean height of the {metric} validation curve over the first {span} "
        f"epoch{'s' * (span != 1)}"
        if span
        else "there is no early area, as evaluate.early_epochs is 0"
    )
    about = (
        f"Validation images; means over seeds. {area[0].upper()}{area[1:]}. Differences are paired by seed, "
        "with the 95 % interval of Student's t. They are from the dense arm whose schedule is as long "
        "(`dense-short` for tickets on a shorter one), as warm-up and milestones are shares of the schedule; "
        "`-`: there is none. `boosting` is dense's FLOPs over the arm's, to the first validation with "
        f"{TARGET} % of dense's best {metric} accuracy, without the search and with it, the geometric mean "
        "over seeds; `-`: a seed never reached it; inf: an untrained network had it. `early stop` is the "
        "step of the lowest clean validation loss: a winning ticket stops no later than dense on the same "
        "schedule, and is no worse there."
    )
    return list(TITLES), [_cells(arm, rows, metric) for arm in rows.arm.drop_duplicates()], about


def _cells(arm: str, rows: pd.DataFrame, metric: str) -> list[str]:
    own, dense = rows[rows.arm == arm], _dense_as_long(arm, rows)
    early = f"early_{metric}"
    ratio = f"boosting_{TARGET}"

    def percent(column: str) -> str:
        return _mean(100 * own[column], ".1f")

    return [
        arm,
        percent("epoch1_clean"),
        percent("epoch1_robust"),
        percent(early),
        _difference(own, dense, early, 100),
        _mean(own[f"passes_to_{TARGET}"] / 1e6, ".3f"),
        _geometric_mean(own[ratio]),
        _geometric_mean(own[f"{ratio}_with_search"]),
        _mean(own.early_stop_step, ".0f"),
        _difference(own, dense, "early_stop_step", 1),
        percent("early_stop_clean"),
        _difference(own, dense, "early_stop_clean", 100),
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


def _difference(own: pd.DataFrame, dense: pd.DataFrame, column: str, scale: float) -> str:
    """The mean difference from a dense arm and its interval; nothing for that arm itself."""
    if own.equals(dense):
        return ""
    if dense.empty:
        return "-"
    if own[column].isna().any() or dense[column].isna().any():
        return "-"
    paired = contrast("", list(own[column]), list(dense[column]))
    mean = sum(paired.differences) / len(paired.differences)
    text = f"{scale * mean:+.1f}"
    if paired.interval is not None:
        low, high = paired.interval
        text += f" ({scale * low:+.1f} to {scale * high:+.1f})"
    return text
