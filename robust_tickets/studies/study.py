"""A study: its cells as comparisons, and what their figures say of its claims."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from robust_tickets import comparison, locks, recipe, runs, schema, stages
from robust_tickets.errors import InputError
from robust_tickets.recipe import Recipe
from robust_tickets.report.boosting import measured
from robust_tickets.report.claims import Claim
from robust_tickets.report.read import ArmResult, arm_result
from robust_tickets.report.study_plot import study_plot
from robust_tickets.runs import RunDirectory
from robust_tickets.stages import Experiment, Machine
from robust_tickets.studies.claims import CLAIMS
from robust_tickets.studies.grid import Cell, cells


@dataclass(frozen=True)
class Studied:
    """Where a study lies, and what came out."""

    folder: Path
    rows: pd.DataFrame
    claims: list[Claim]


def study(name: str, what: Experiment, seeds: Sequence[int], runs_: Path, machine: Machine) -> Studied:
    """Run what is missing of a study's cells, seed by seed; after each, write what is known so far.

    The cells are run directories of `compare` under `runs_`; arms and searches that several of them share are
    made once. The study's folder lies beside them and holds `<name>.csv` (a row a setting, arm and seed),
    `<name>.svg`, `<name>.md` (the verdict) and `study.toml`. Raises InputError for a grid that makes no
    sense, before anything is run.
    """
    base = what.recipe
    grid = cells(name, base)
    folder = runs_ / f"study-{name}-{base.name}-{identity(name, base)}"
    with locks.held(folder):
        runs.write_text(folder / "study.toml", recipe.dumps(base, study=True))
        rows = _known(folder / f"{name}.csv")
        for seed in seeds:
            for cell in grid:
                machine.progress.say(f"study {name}, seed {seed}, setting {cell.setting}")
                try:
                    new = _cell(what, cell, seed, runs_, machine)
                except InputError as error:
                    raise InputError(f"study {name}, seed {seed}, setting {cell.setting}: {error}") from None
                if len(rows):
                    rows = rows[(rows.setting != cell.setting) | (rows.seed != seed)]
                rows = pd.concat([rows, new], ignore_index=True) if len(rows) else new
                done = written(folder, name, base, grid, rows)
    return done


def _known(file: Path) -> pd.DataFrame:
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


def identity(name: str, base: Recipe) -> str:
    """Eight hex digits of the recipe, the study and its own grid."""
    field = name.replace("-", "_")
    decides = [base.identity, name, schema.plain(base.study)[field]]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:8]


def written(folder: Path, name: str, base: Recipe, grid: Sequence[Cell], rows: pd.DataFrame) -> Studied:
    """Write a study's files from its rows."""
    metric = base.evaluate.choose
    settings = [cell.setting for cell in grid]
    known = [setting for setting in settings if setting in set(rows.setting)]
    claims = CLAIMS[name](rows, known, metric) if known == settings else []
    runs.write_text(folder / f"{name}.csv", str(rows.to_csv(index=False, float_format="%.6g")))
    runs.write(folder / f"{name}.svg", lambda part: study_plot(rows, known, name, metric, part))
    runs.write_text(folder / f"{name}.md", verdict(name, base, claims, rows))
    return Studied(folder, rows, claims)


def verdict(name: str, base: Recipe, claims: Sequence[Claim], rows: pd.DataFrame) -> str:
    """The study's verdict in words."""
    seeds = ", ".join(map(str, sorted(set(rows.seed))))
    model, threat = base.model, base.threat
    heading = (
        f"**Study {name}: {rows.data.iloc[0]}, {model.name} at width {model.width:g}, {threat.norm} "
        f"{threat.eps}, recipe {base.name}, seeds {seeds}**"
    )
    said = [str(claim) for claim in claims] or ["Not all settings are done yet: no verdict."]
    span = base.evaluate.early_epochs or 1
    about = (
        f"Early figures are the mean height of the {base.evaluate.choose} validation accuracy over the first "
        f"{span} epoch{'s' * (span != 1)}, end figures the test accuracy of the epoch that validation chose. "
        "Arms of a seed share init and batches; intervals are Student's t over such pairs, of seeds in which "
        "both are done. A verdict needs an interval that excludes zero at 3 or 4 seeds; with 5 or more, what "
        "is not seen does not hold."
    )
    return "\n\n".join([heading, *said, about]) + "\n"


def _cell(base: Experiment, cell: Cell, seed: int, runs_: Path, machine: Machine) -> pd.DataFrame:
    """The rows of one cell and seed, run where they are not there."""
    what = replace(base, recipe=cell.recipe)
    run = comparison.compare(what, [seed], runs_, machine)
    results: dict[str, ArmResult] = {arm: arm_result(run, seed, arm) for arm in cell.recipe.compare.arms}
    if cell.source is not None:
        results["ticket-from"] = _from(cell.source, what, seed, run, runs_, machine)
    metric, span = cell.recipe.evaluate.choose, cell.recipe.evaluate.early_epochs or 1
    about = {"setting": cell.setting, "seed": seed}
    rows = [
        {
            **about,
            "arm": arm,
            **measured(result, results["dense"], metric, span),
            "data": result.about["data"],
            "run": run.path.name,
        }
        for arm, result in results.items()
    ]
    return pd.DataFrame(rows)


def _from(
    source: Recipe, what: Experiment, seed: int, run: RunDirectory, runs_: Path, machine: Machine
) -> ArmResult:
    """The arm that begins from the ticket of another recipe, charged that search."""
    there = RunDirectory.of(runs_, source)
    ticket = comparison.search(replace(what, recipe=source), seed, runs_, machine)
    try:
        folder = comparison.train_from(what, seed, runs_, machine, ticket)
    except InputError as error:
        raise InputError(f"the ticket of {there.path}: {error}") from None
    for name in ("best", "last"):
        stages.evaluate(folder / f"{name}.safetensors", what, machine)
    result = arm_result(run, seed, folder.name)
    return replace(result, search=runs.read_object(ticket.parent / "ledger.json", "remove its folder"))
