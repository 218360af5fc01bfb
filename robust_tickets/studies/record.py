"""What a study leaves: its rows, its figure and its verdict, and how they are made again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from robust_tickets.base.errors import InputError
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.boosting import FIGURES
from robust_tickets.report.claims import Claim
from robust_tickets.report.study_plot import study_plot
from robust_tickets.runs import files
from robust_tickets.studies.claims import CLAIMS
from robust_tickets.studies.grid import GRIDS, cells

DIGITS = 6
"""Significant digits of the figures."""

RECIPE = "study.toml"
"""The recipe of a study with its grids, in its folder."""


@dataclass(frozen=True)
class StudyResult:
    """Where a study lies, and what came out."""

    folder: Path
    rows: pd.DataFrame
    claims: list[Claim]


_KEY = ["setting", "arm", "seed"]
_TEXTS = ["setting", "arm", "data", "run"]
_FIX = "remove it and run the study again, which trains nothing twice"
_MAY_BE_ABSENT = ("early_", "epoch1_", "passes_to_", "flops_to_", "boosting_")
"""Columns of which a figure is empty where an arm never got there."""


def read_rows(file: Path, settings: Sequence[str]) -> pd.DataFrame:
    """The rows of an earlier call, of these seeds or others; none where there is no file.

    Raises InputError for a file that is damaged, or has other settings than the study's.
    """
    if not file.is_file():
        return pd.DataFrame()
    rows = files.read_csv(file, _TEXTS, _FIX)
    wrong = _wrong(rows, settings)
    if wrong:
        raise InputError(f"cannot read {file} ({wrong}): {_FIX}")
    return rows


def _wrong(rows: pd.DataFrame, settings: Sequence[str]) -> str:
    """What is wrong with a study's rows, in words; empty where nothing is."""
    if rows.empty:
        return "it has no rows"
    lacking = [column for column in [*_TEXTS, "seed", *FIGURES] if column not in rows]
    if lacking:
        return f"it has no column {lacking[0]}"
    cut = rows[[c for c in rows if not c.startswith(_MAY_BE_ABSENT)]].isna().any(axis=1)
    if cut.any():
        return f"its row {int(cut.idxmax()) + 1} is cut short"
    for column in ("seed", *FIGURES):
        if not pd.api.types.is_numeric_dtype(rows[column]):
            return f"its column {column} has something that is no number"
    others = [setting for setting in rows.setting if setting not in settings]
    if others:
        return f"it has a setting {others[0]}, which the study has not"
    twice = rows.duplicated(_KEY)
    if twice.any():
        return f"it has a row twice: {', '.join(map(str, rows[_KEY].iloc[int(twice.idxmax())]))}"
    return ""


def write_study(folder: Path, name: str, base: Recipe, rows: pd.DataFrame) -> StudyResult:
    """Write a study's files from its rows."""
    done, claims = judge(name, base, rows)
    metric = base.evaluate.select_by
    files.write_text(folder / f"{name}.csv", csv(rows))
    files.write(folder / f"{name}.svg", lambda part: study_plot(rows, done, name, metric, part))
    files.write_text(folder / f"{name}.md", verdict(name, base, claims, rows))
    return StudyResult(folder, rows, claims)


def read_study(folder: Path) -> tuple[str, str]:
    """A study's table (CSV) and its verdict, from its rows alone. Raises InputError for damaged files."""
    base = recipes.load_recorded(folder / RECIPE)
    found = [name for name in GRIDS if (folder / f"{name}.csv").is_file()]
    if len(found) != 1:
        raise InputError(f"{folder} has no table of a study: run the study again")
    file = folder / f"{found[0]}.csv"
    rows = read_rows(file, [cell.setting for cell in cells(found[0], base)])
    return csv(rows), verdict(found[0], base, judge(found[0], base, rows)[1], rows)


def csv(rows: pd.DataFrame) -> str:
    """The rows as CSV."""
    return files.csv_text(rows, DIGITS)


def rounded(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the digits that files have, so that a verdict made again from a file is the same."""
    floats = rows.select_dtypes("float").columns
    return rows.assign(**{name: [float(f"{x:.{DIGITS}g}") for x in rows[name]] for name in floats})


def judge(name: str, base: Recipe, rows: pd.DataFrame) -> tuple[list[str], list[Claim]]:
    """The settings that have rows, in the grid's order; and what they say, once all of them have."""
    settings = [cell.setting for cell in cells(name, base)]
    done = [setting for setting in settings if setting in set(rows.setting)]
    return done, CLAIMS[name](rows, done, base.evaluate.select_by) if done == settings else []


def verdict(name: str, base: Recipe, claims: Sequence[Claim], rows: pd.DataFrame) -> str:
    """The study's verdict in words."""
    seeds = ", ".join(map(str, sorted(set(rows.seed))))
    model, threat = base.model, base.threat
    width = "" if ":" in model.name else f" at width {model.width:g}"  # a net of the user's own has none
    heading = (
        f"**Study {name}: {rows.data.iloc[0]}, {model.name}{width}, {threat.norm} {threat.eps}, recipe "
        f"{base.name}, seeds {seeds}**"
    )
    said = [str(claim) for claim in claims] or ["Not all settings are done yet: no verdict."]
    span = base.evaluate.early_epochs
    figures = (
        "Figures are the test accuracy of the epoch that validation chose."
        if name == "schedule"
        else f"Early figures are the mean height of the {base.evaluate.select_by} validation accuracy over "
        f"the first {span} epoch{'s' * (span != 1)}, end figures the test accuracy of the epoch "
        "that validation chose."
    )
    about = (
        "Arms of a seed share init and batches; intervals are Student's t over such pairs, of seeds in which "
        "both are done. A verdict needs an interval that excludes zero at 3 or 4 seeds; with 5 or more, what "
        "is not seen does not hold."
    )
    return "\n\n".join([heading, *said, f"{figures} {about}"]) + "\n"
