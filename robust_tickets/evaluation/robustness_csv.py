"""robustness.csv: a row an attack, merged over evaluations."""

import json
import math
from pathlib import Path

import pandas as pd
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.evaluation.attack_sets import CLEAN
from robust_tickets.evaluation.result import RobustnessRow
from robust_tickets.recipe.fields import Threat
from robust_tickets.runs import files

COLUMNS = [
    "checkpoint",
    "split",
    "attack",
    "eps",
    "n",
    "accuracy",
    "seconds",
    "forwards",
    "backwards",
    "rel_step",
    "seed",
    "norm",
    "clean",
    "low",
    "high",
    "by_class",
    "settings",
    "broken_by",
    "outside",
    "source",
]
"""Fractions, seconds, samples through the net; `low` and `high` are the 95 % interval of `accuracy`."""

_OUTSIDE = "outside: images that a foreign attack left outside ball or box, which do not count as broken"
_FIRST = COLUMNS[:11]  # what the first files had; then came the norm, then all that follows it
_TEXTS = (
    "checkpoint",
    "split",
    "attack",
    "eps",
    "norm",
    "by_class",
    "settings",
    "broken_by",
    "source",
)
_KEY = ["checkpoint", "split", "attack", "eps", "norm", "n", "seed", "source"]


def result_table(
    rows: list[RobustnessRow],
    labels: Tensor,
    classes: int,
    *,
    checkpoint: str,
    split: str,
    threat: Threat,
    rel_step: float,
    seed: int,
    source: str,
) -> pd.DataFrame:
    """The rows of one evaluation; labels int64 (N,) are the samples'. source: whose images were attacked."""
    clean = next((row.accuracy for row in rows if row.attack == CLEAN), math.nan)
    values = []
    for row in rows:
        low, high = row.interval
        by_class = [None if math.isnan(a) else round(a, 6) for a in row.by_class(labels, classes)]
        values.append(
            {
                "checkpoint": checkpoint,
                "split": split,
                "attack": row.attack,
                "eps": str(threat.eps),
                "n": len(row.standing),
                "accuracy": row.accuracy,
                "seconds": round(row.seconds, 3),
                "forwards": row.forwards,
                "backwards": row.backwards,
                "rel_step": rel_step,
                "seed": seed,
                "norm": threat.norm,
                "clean": clean,
                "low": round(low, 6),
                "high": round(high, 6),
                "by_class": json.dumps(by_class),
                "settings": row.settings,
                "broken_by": json.dumps(row.broken_by) if row.broken_by else "",
                "outside": row.outside,
                "source": source,
            }
        )
    return pd.DataFrame(values, columns=COLUMNS)


def merge_rows(file: Path, rows: pd.DataFrame) -> None:
    """Write the rows to a robustness.csv, over those of the same attack on the same images."""
    known = read_rows(file)
    if len(known):
        both = pd.concat([known.astype(object), rows.astype(object)])  # as they are, whatever is missing
        rows = both.drop_duplicates(_KEY, keep="last")
    files.write_text(file, files.csv_text(rows))


def read_rows(file: Path) -> pd.DataFrame:
    """The rows of a robustness.csv; none where there is no file. Raises InputError for a damaged one."""
    if not file.is_file():
        return pd.DataFrame(columns=COLUMNS)
    rows = files.read_csv(file, _TEXTS, "remove it and evaluate again")
    try:
        if list(rows.columns) == _FIRST:
            rows["norm"] = "Linf"  # written before there was another
        if list(rows.columns) == [*_FIRST, "norm"]:
            rows = rows.reindex(columns=COLUMNS).assign(outside=0)  # no foreign attacks then
        if list(rows.columns) != COLUMNS:
            raise ValueError(f"columns {list(rows.columns)}")
        if rows[_FIRST].isna().any(axis=None):
            raise ValueError("a row of it is cut short")
        for column in set(_FIRST) - set(_TEXTS):
            pd.to_numeric(rows[column])
    except ValueError as error:
        raise InputError(f"cannot read {file} ({error}): remove it and evaluate again") from None
    # where a column is missing, pandas takes it for one of numbers
    return rows.astype(dict.fromkeys(_TEXTS, object)).fillna(dict.fromkeys(_TEXTS, ""))


def format_rows(rows: pd.DataFrame) -> str:
    """The rows for people: accuracy in percent, the worst case without the names above it."""
    names = ["worst case" if name.startswith("worst-case(") else name for name in rows.attack]
    width = max(map(len, names), default=0)
    shown = rows.assign(
        attack=[name.ljust(width) for name in names],
        accuracy=[f"{100 * a:.2f} %" for a in rows.accuracy],
        interval=[
            f"{100 * low:.1f} to {100 * high:.1f}" for low, high in zip(rows.low, rows.high, strict=True)
        ],
        passes=rows.forwards + rows.backwards,
    ).rename(columns={"attack": "attack".ljust(width), "interval": "95 % interval"})
    columns = ["attack".ljust(width), "norm", "eps", "n", "accuracy", "95 % interval", "seconds", "passes"]
    if rows.outside.any():
        columns.append("outside")
    table = str(shown[columns].to_string(index=False))
    return f"{table}\n{_OUTSIDE}" if rows.outside.any() else table
