"""The folder of a study: its rows, its figure, its verdict, and the recipe that they come from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from robust_tickets.base.errors import InputError
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe import schema
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.studies import STUDIES, load_study
from robust_tickets.report.boosting import FIGURES, aa_columns
from robust_tickets.report.claims import Claim
from robust_tickets.report.study_plot import study_plot
from robust_tickets.runs import files
from robust_tickets.studies.base import Study
from robust_tickets.studies.chance import ONE_CLASS
from robust_tickets.studies.grid import make_cells
from robust_tickets.studies.verdicts import decide, title_lines, verdict_text

DIGITS = 6
"""Significant digits of the figures."""

_KEY = ["setting", "arm", "seed"]
_TEXTS = ["setting", "arm", "data", "run"]
_FIX = "remove it and run the study again, which trains nothing twice"
_EMPTY_WHERE_NEVER_REACHED = ("early_", "epoch1_", "passes_to_", "flops_to_", "boosting_")
"""Beginnings of columns in which a figure may be missing."""


@dataclass(frozen=True)
class StudyResult:
    """A study so far.

    folder: where its files are.
    rows: a row a setting, arm and seed.
    claims: what they decide; none before every setting has rows.
    verdict: the claims as Markdown.
    """

    folder: Path
    rows: pd.DataFrame
    claims: list[Claim]
    verdict: str


@dataclass(frozen=True)
class StudyFolder:
    """The folder of a study. It owns the names of the files, and is their one reader and writer."""

    path: Path
    study: Study
    base: Recipe

    @classmethod
    def of(cls, runs: Path, study: Study, base: Recipe) -> "StudyFolder":
        """The folder beside the run directories, named by the recipe and the study's own settings."""
        settings = study.settings(base)
        # they may use methods of their own
        cells = [part.identity for cell in study.cells(base, settings) for part in cell.recipes]
        identity = [base.identity, study.name, schema.plain(settings), cells]
        digits = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
        return cls(runs / f"study-{study.name}-{base.name}-{digits}", study, base)

    @classmethod
    def open(cls, path: Path) -> "StudyFolder":
        """A study's folder. Raises InputError for one without a table."""
        base = recipes.load_recorded(path / "study.toml")
        folders = (cls(path, load_study(name), base) for name in STUDIES)
        folder = next((folder for folder in folders if folder.table_file.is_file()), None)
        if folder is None:
            raise InputError(f"{path} has no table of a study: run the study again")
        return folder

    @property
    def recipe_file(self) -> Path:
        """The base recipe with the settings of its studies."""
        return self.path / "study.toml"

    @property
    def table_file(self) -> Path:
        """A row a setting, arm and seed."""
        return self.path / f"{self.study.name}.csv"

    @property
    def figure_file(self) -> Path:
        """The figures over the settings."""
        return self.path / f"{self.study.name}.svg"

    @property
    def verdict_file(self) -> Path:
        """What the figures decide."""
        return self.path / f"{self.study.name}.md"

    @property
    def settings(self) -> list[str]:
        """The names of the settings in order."""
        return list(self._arms)

    def write_recipe(self) -> None:
        """Write the recipe."""
        files.write_text(self.recipe_file, recipes.to_toml(self.base, study=True))

    def read_rows(self) -> pd.DataFrame:
        """The rows so far; none where there is no table.

        Raises InputError for a table that is damaged, or has settings that the study has not.
        """
        if not self.table_file.is_file():
            return pd.DataFrame()
        rows = files.read_csv(self.table_file, _TEXTS, _FIX)
        fault = _fault(rows, self._arms, (*FIGURES, *aa_columns(self.base.evaluate), ONE_CLASS))
        if fault:
            raise InputError(f"cannot read {self.table_file} ({fault}): {_FIX}")
        return rows

    def write(self, rows: pd.DataFrame) -> StudyResult:
        """Write the table, the figure and the verdict of these rows."""
        result = self.result(rows)
        settings = self._settings_with(rows)
        files.write_text(self.table_file, csv(rows))
        title, axis = title_lines(self.study, self.base, result.claims, rows), self.study.axis
        files.write(
            self.figure_file, lambda part: study_plot(rows, settings, title, axis, self.base.evaluate, part)
        )
        files.write_text(self.verdict_file, result.verdict)
        return result

    def result(self, rows: pd.DataFrame) -> StudyResult:
        """What the rows decide."""
        settings = self._settings_with(rows)
        claims = []
        if settings == self.settings:
            claims = decide(self.study, settings, rows, self.base.evaluate)
        return StudyResult(self.path, rows, claims, verdict_text(self.study, self.base, claims, rows))

    @property
    def _arms(self) -> dict[str, list[str]]:
        """The arms of each setting."""
        return {cell.setting: list(cell.arms) for cell in make_cells(self.study, self.base)}

    def _settings_with(self, rows: pd.DataFrame) -> list[str]:
        """The settings that have rows."""
        return [setting for setting in self.settings if setting in set(rows.setting)]


def read_study(path: Path) -> tuple[str, str]:
    """A study's table (CSV) and its verdict, from its rows alone. Raises InputError for damaged files."""
    folder = StudyFolder.open(path)
    rows = folder.read_rows()
    return csv(rows), folder.result(rows).verdict


def csv(rows: pd.DataFrame) -> str:
    """The rows as CSV."""
    return files.csv_text(rows, DIGITS)


def rounded(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the digits that files have, so that the verdict from a file is the same."""
    floats = rows.select_dtypes("float").columns
    return rows.assign(**{name: [float(f"{x:.{DIGITS}g}") for x in rows[name]] for name in floats})


def _fault(rows: pd.DataFrame, arms: Mapping[str, Sequence[str]], figures: Sequence[str]) -> str:
    """The first fault of a study's rows, in words; empty where there is none.

    arms: those of each setting.
    figures: the columns of figures.
    """
    if rows.empty:
        return "it has no rows"
    missing = [column for column in [*_TEXTS, "seed", *figures] if column not in rows]
    if missing:
        return f"it has no column {missing[0]}"
    other = [column for column in rows if column not in (*_TEXTS, "seed", *figures)]
    if other:
        return f"it has a column {other[0]}, which no study has"
    full = [column for column in rows if not column.startswith(_EMPTY_WHERE_NEVER_REACHED)]
    short = rows[full].isna().any(axis=1)
    if short.any():
        return f"its row {int(short.idxmax()) + 1} is cut short"
    for column in ("seed", *figures):
        if not pd.api.types.is_numeric_dtype(rows[column]):
            return f"its column {column} has something that is no number"
    for setting, arm in zip(rows.setting, rows.arm, strict=True):
        if setting not in arms:
            return f"it has a setting {setting}, which the study has not"
        if arm not in arms[setting]:
            return f"it has an arm {arm}, which the study has not at {setting}"
    twice = rows.duplicated(_KEY)
    if twice.any():
        return f"it has a row twice: {', '.join(map(str, rows[_KEY].iloc[int(twice.idxmax())]))}"
    for (setting, seed), cell in rows.groupby(["setting", "seed"], sort=False):
        absent = [arm for arm in arms[setting] if arm not in set(cell.arm)]
        if absent:
            return f"it has no row of {absent[0]} at {setting}, seed {seed}"
    return ""
