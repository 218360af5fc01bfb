"""robustness.csv: a row an attack, merged over evaluations; its one reader and its one writer."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from robust_tickets.base.errors import InputError
from robust_tickets.evaluation.attack_sets import CLEAN
from robust_tickets.recipe.fields import Threat
from robust_tickets.runs import files

if TYPE_CHECKING:  # tables are read without torch
    from torch import Tensor

    from robust_tickets.evaluation.result import RobustnessRow

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
"""Fractions, seconds, samples through the network; `low` and `high` are the 95 % interval of `accuracy`."""

_TEXTS = ("checkpoint", "split", "attack", "eps", "norm", "by_class", "settings", "broken_by", "source")
_NEVER_EMPTY = [column for column in COLUMNS if column not in ("settings", "broken_by", "source", "by_class")]
_KEY = ["checkpoint", "split", "attack", "eps", "norm", "n", "seed", "source"]
_FIX = "remove it and evaluate again"
_OUTSIDE = "outside: images that a third-party attack left outside ball or box; they do not count as broken"


def result_table(
    rows: "list[RobustnessRow]", labels: "Tensor", classes: int, threat: Threat, where: dict[str, Any]
) -> pd.DataFrame:
    """The rows of one evaluation as a table.

    rows: the results of the attacks, in order.
    labels: int64 (N,), those of the samples.
    classes: how many the data set has.
    threat: the threat model of the attacks.
    where: the columns that all rows share: checkpoint, split, rel_step, seed, and source, the digest of the
        network that was attacked instead, or "".
    """
    clean = next((row.accuracy for row in rows if row.attack == CLEAN), math.nan)
    records = []
    for row in rows:
        low, high = row.interval
        by_class = [None if math.isnan(a) else round(a, 6) for a in row.by_class(labels, classes)]
        records.append(
            {
                **where,
                "attack": row.attack,
                "eps": str(threat.eps),
                "n": len(row.robust),
                "accuracy": row.accuracy,
                "seconds": round(row.seconds, 3),
                "forwards": row.forwards,
                "backwards": row.backwards,
                "norm": threat.norm,
                "clean": clean,
                "low": round(low, 6),
                "high": round(high, 6),
                "by_class": json.dumps(by_class),
                "settings": row.settings,
                "broken_by": json.dumps(row.broken_by) if row.broken_by else "",
                "outside": row.outside,
            }
        )
    return pd.DataFrame(records, columns=COLUMNS)


def merge_rows(file: Path, rows: pd.DataFrame) -> None:
    """Write the rows to a robustness.csv, over those of the same attack on the same images."""
    earlier = read_rows(file)
    if len(earlier):
        rows = pd.concat([earlier, rows]).drop_duplicates(_KEY, keep="last")
    files.write_text(file, files.csv_text(rows))


def read_rows(file: Path) -> pd.DataFrame:
    """The rows of a robustness.csv; none where there is no file. Raises InputError for a damaged one."""
    return parse_rows(file, read_content(file))


def read_content(file: Path) -> bytes | None:
    """The bytes of a robustness.csv; None where there is none. Raises InputError where it cannot be read."""
    return files.read_bytes(file, _FIX) if file.is_file() else None


def parse_rows(file: Path, content: bytes | None) -> pd.DataFrame:
    """The rows in the bytes of a robustness.csv, as `read_rows` gives them; file: its name in messages."""
    if content is None:
        return pd.DataFrame(columns=COLUMNS)
    rows = files.parse_csv(file, content, _TEXTS, _FIX)
    try:
        if list(rows.columns) != COLUMNS:
            raise ValueError(f"columns {list(rows.columns)}")
        if rows[_NEVER_EMPTY].isna().any(axis=None):
            raise ValueError("a row of it is cut short")
        for column in set(COLUMNS) - set(_TEXTS):
            pd.to_numeric(rows[column])
        wrong = rows.accuracy[~rows.accuracy.between(0, 1)]
        if len(wrong):
            raise ValueError(f"an accuracy of {wrong.iloc[0]:g}, which is no fraction")
    except ValueError as error:
        raise InputError(f"cannot read {file} ({error}): {_FIX}") from None
    # pandas takes a column of empty cells for one of numbers
    return rows.astype(dict.fromkeys(_TEXTS, object)).fillna(dict.fromkeys(_TEXTS, ""))


def format_rows(rows: pd.DataFrame) -> str:
    """The rows for people: accuracy in percent, the worst case without the names above it."""
    names = ["worst case" if name.startswith("worst-case(") else name for name in rows.attack]
    width = max(map(len, names), default=0)
    table = rows.assign(
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
    text = str(table[columns].to_string(index=False))
    return f"{text}\n{_OUTSIDE}" if rows.outside.any() else text
