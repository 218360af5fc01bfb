"""A study: its cells as comparisons, and what their figures say of its claims."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.comparison import compare
from robust_tickets.comparison.estimate import Estimate, PlannedArms, estimate_all
from robust_tickets.comparison.jobs import TicketFileJob
from robust_tickets.data import data_paths
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe import schema
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.boosting import measured
from robust_tickets.report.read import ArmResult, arm_result
from robust_tickets.runs import files, locks
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages.experiment import Experiment
from robust_tickets.studies.grid import Cell, cells, check, named
from robust_tickets.studies.jobs import work_off
from robust_tickets.studies.record import RECIPE, StudyResult, read_rows, rounded, write_study


def study(
    name: str, what: Experiment, seeds: Sequence[int], runs_: Path, machine: Machine, jobs: int = 1
) -> StudyResult:
    """Run what is missing of a study's cells, seed by seed; after each, write what is known so far.

    The cells are run directories of `compare` under `runs_`; arms and searches that several of them share are
    made once. The study's folder lies beside them and holds `<name>.csv` (a row a setting, arm and seed),
    `<name>.svg`, `<name>.md` (the verdict) and `study.toml`. As many as `jobs` arms are under way beside each
    other. Raises InputError for a grid that makes no sense, before anything is run.
    """
    base = what.recipe
    machine.prepare(base.compute.threads)
    grid = _checked(name, what, machine)
    folder = runs_ / f"study-{name}-{base.name}-{identity(name, base)}"
    with locks.lock(folder):
        files.write_text(folder / RECIPE, recipes.to_toml(base, study=True))
        rows = read_rows(folder / f"{name}.csv", [cell.setting for cell in grid])
        for seed in seeds:
            if jobs > 1:
                work_off(what, grid, seed, runs_, machine, jobs)
            for cell in grid:
                machine.progress.log(f"study {name}, seed {seed}, setting {cell.setting}")
                try:
                    new = _cell(what, cell, seed, runs_, machine)
                except InputError as error:
                    said = named(name, str(error))
                    raise InputError(
                        f"study {name}, seed {seed}, setting {cell.setting}: {said}; what is done is kept"
                    ) from None
                if len(rows):
                    rows = rows[(rows.setting != cell.setting) | (rows.seed != seed)]
                rows = pd.concat([rows, new], ignore_index=True) if len(rows) else new
                done = write_study(folder, name, base, rows)
    return done


def forecast(name: str, what: Experiment, seeds: int, machine: Machine) -> Estimate:
    """What a study would take. Raises InputError as `study` does."""
    works = []
    for cell in _checked(name, what, machine):
        here = replace(what, recipe=cell.recipe)
        works.append(PlannedArms(here, cell.recipe.compare.trained, f" ({cell.setting})"))
        if cell.source is not None:  # its ticket is trained as the own one is, at the same cost
            works.append(PlannedArms(replace(what, recipe=cell.source), ("ticket",), f" from {cell.setting}"))
    return estimate_all(works, seeds, machine)


def _checked(name: str, what: Experiment, machine: Machine) -> list[Cell]:
    """The cells of a study. Raises InputError where one cannot be run, as far as that can be known."""
    grid = cells(name, what.recipe)
    for recipe_ in (r for cell in grid for r in (cell.recipe, cell.source) if r is not None):
        if what.images is None:
            data_paths.check_data_path(recipe_.data)
    check(name, grid, what.spec(machine))
    if name == "width":
        sizes: dict[tuple[object, ...], str] = {}
        for cell in grid:
            net = replace(what, recipe=cell.recipe).fresh_net(0, machine)
            shapes = tuple(parameter.shape for parameter in net.parameters())
            twin = sizes.setdefault(shapes, cell.setting)
            if twin != cell.setting:
                raise InputError(
                    f"study width: {twin} and {cell.setting} are the same net, as channels come in multiples "
                    "of 8: leave one out of study.width"
                )
    return grid


def identity(name: str, base: Recipe) -> str:
    """Eight hex digits of the recipe, the study and its own grid."""
    field = name.replace("-", "_")
    decides = [base.identity, name, schema.plain(base.study)[field]]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:8]


def _cell(base: Experiment, cell: Cell, seed: int, runs_: Path, machine: Machine) -> pd.DataFrame:
    """The rows of one cell and seed, run where they are not there."""
    what = replace(base, recipe=cell.recipe)
    run = compare.compare(what, [seed], runs_, machine)
    results: dict[str, ArmResult] = {arm: arm_result(run, seed, arm) for arm in cell.recipe.compare.arms}
    if cell.source is not None:
        results["ticket-from"] = _from(cell.source, what, seed, run, runs_, machine)
    about = {"setting": cell.setting, "seed": seed}
    rows = [
        {
            **about,
            "arm": arm,
            **measured(result, results["dense"], cell.recipe.evaluate),
            "data": result.about["data"],
            "run": run.path.name,
        }
        for arm, result in results.items()
    ]
    return rounded(pd.DataFrame(rows))


def _from(
    source: Recipe, what: Experiment, seed: int, run: RunDirectory, runs_: Path, machine: Machine
) -> ArmResult:
    """The arm that begins from the ticket of another recipe, charged that search."""
    there = RunDirectory.of(runs_, source)
    ticket = compare.search(replace(what, recipe=source), seed, runs_, machine)
    try:
        with locks.lock(run.path):
            folder = TicketFileJob(what, seed, run, ticket)(machine)
    except InputError as error:
        raise InputError(f"the ticket of {there.path}: {error}") from None
    return arm_result(run, seed, "ticket-from", folder, there.search(seed))
