"""A table beside the checkpoint that it is about."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from robust_tickets.runs import files
from robust_tickets.runs.downloads import result_folder
from robust_tickets.stages.evaluation_run import short_digest

DIGITS = 6
"""Significant digits in the table."""


@dataclass(frozen=True)
class WrittenTable:
    """The text of a table, and its file."""

    text: str
    table: Path


def write_beside(
    checkpoint: Path, name: str, settings: object, rows: pd.DataFrame, text: str
) -> WrittenTable:
    """Write `<checkpoint>-<name>-<hex>.csv` beside a checkpoint; other settings give another file.

    settings: plain values that tell one table of this name from another.
    """
    file = result_folder(checkpoint) / f"{checkpoint.stem}-{name}-{short_digest(settings)}.csv"
    files.write_text(file, files.csv_text(rows, DIGITS))
    return WrittenTable(text, file)
