"""What a study leaves: its rows, its figure and its verdict, and how they are made again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from robust_tickets import recipe, runs
from robust_tickets.errors import InputError
from robust_tickets.recipe import Recipe
from robust_tickets.report.claims import Claim
from robust_tickets.report.study_plot import study_plot
from robust_tickets.studies.claims import CLAIMS
from robust_tickets.studies.grid import GRIDS, cells

DIGITS = 6
"""Significant digits of the figures."""

RECIPE = "study.toml"
"""The recipe of a study with its grids, in its folder."""


@dataclass(frozen=True)
class Studied:
    """Where a study lies, and what came out."""

    folder: Path
    rows: pd.DataFrame
    claims: list[Claim]


def known(file: Path) -> pd.DataFrame:
    """The rows of an earlier call, of these seeds or others. Raises InputError for a damaged file."""
    if not file.is_file():
        return pd.DataFrame()
    try:
        rows = pd.read_csv(file, dtype={"setting": str})
        if rows[["setting", "seed", "arm"]].isna().any(axis=None):
            raise ValueError("a row of it is cut short")
        return rows
    except (ValueError, OSError, AttributeError, KeyError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"cannot read {file} ({said}): remove it and run the study again") from None


def written(folder: Path, name: str, base: Recipe, rows: pd.DataFrame) -> Studied:
    """Write a study's files from its rows."""
    done, claims = judged(name, base, rows)
    metric = base.evaluate.choose
    runs.write_text(folder / f"{name}.csv", csv(rows))
    runs.write(folder / f"{name}.svg", lambda part: study_plot(rows, done, name, metric, part))
    runs.write_text(folder / f"{name}.md", verdict(name, base, claims, rows))
    return Studied(folder, rows, claims)


def again(folder: Path) -> tuple[str, str]:
    """A study's table (CSV) and its verdict, from its rows alone. Raises InputError for damaged files."""
    base = recipe.load(str(folder / RECIPE))
    found = [name for name in GRIDS if (folder / f"{name}.csv").is_file()]
    if len(found) != 1:
        raise InputError(f"{folder} has no table of a study: run the study again")
    rows = known(folder / f"{found[0]}.csv")
    return csv(rows), verdict(found[0], base, judged(found[0], base, rows)[1], rows)


def csv(rows: pd.DataFrame) -> str:
    """The rows as CSV."""
    return str(rows.to_csv(index=False, float_format=f"%.{DIGITS}g"))


def rounded(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the digits that files have, so that a verdict made again from a file is the same."""
    floats = rows.select_dtypes("float").columns
    return rows.assign(**{name: [float(f"{x:.{DIGITS}g}") for x in rows[name]] for name in floats})


def judged(name: str, base: Recipe, rows: pd.DataFrame) -> tuple[list[str], list[Claim]]:
    """The settings that have rows, in the grid's order; and what they say, once all of them have."""
    settings = [cell.setting for cell in cells(name, base)]
    done = [setting for setting in settings if setting in set(rows.setting)]
    return done, CLAIMS[name](rows, done, base.evaluate.choose) if done == settings else []


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
    about = (
        f"Early figures are the mean height of the {base.evaluate.choose} validation accuracy over the first "
        f"{span} epoch{'s' * (span != 1)}, end figures the test accuracy of the epoch that validation chose. "
        "Arms of a seed share init and batches; intervals are Student's t over such pairs, of seeds in which "
        "both are done. A verdict needs an interval that excludes zero at 3 or 4 seeds; with 5 or more, what "
        "is not seen does not hold."
    )
    return "\n\n".join([heading, *said, about]) + "\n"
