"""Runs a study: its cells as comparisons, and their figures as its rows."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from robust_tickets.base.errors import InputError
from robust_tickets.base.progress import SilentProgress
from robust_tickets.comparison import compare
from robust_tickets.comparison.estimate import Estimate, PlannedArms, estimate_all
from robust_tickets.comparison.estimated_rates import EstimatedRates, PassTimer
from robust_tickets.comparison.executors.base import Executor
from robust_tickets.comparison.executors.inline import INLINE
from robust_tickets.comparison.jobs import TicketFileJob
from robust_tickets.comparison.preparation import on_client
from robust_tickets.data import data_paths
from robust_tickets.recipe.arms import needs_ticket
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.studies import load_study
from robust_tickets.report.boosting import measured
from robust_tickets.report.read import ArmResult, arm_result
from robust_tickets.runs import locks
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.search import check_search
from robust_tickets.stages.timed_plan import check_jobs
from robust_tickets.studies.base import Cell, Source, Study
from robust_tickets.studies.chance import ONE_CLASS, one_class_accuracy
from robust_tickets.studies.grid import check_lengths, make_cells, name_setting
from robust_tickets.studies.jobs import run_seed
from robust_tickets.studies.study_files import StudyFolder, StudyResult, rounded


def study(
    name: str, experiment: Experiment, seeds: Sequence[int], runs: Path, executor: Executor = INLINE
) -> StudyResult:
    """Run what a study lacks, seed by seed, and write its files after every cell.

    Each cell is a run directory; arms and searches that cells share are trained once.

    name: one of `recipe.studies.STUDIES`.
    runs: the folder of the run directories and of the study's own folder.
    executor: runs the arms.
    Raises InputError for settings that make no sense, before anything is run.
    """
    executor.check()
    executor.check_devices(experiment.machine)
    machine = experiment.machine
    experiment, runs = on_client(experiment, runs, executor)
    record = load_study(name)
    experiment.prepare()
    cells = _checked_cells(record, experiment, reads_images=True)
    for cell in cells:
        check_jobs(cell.recipe, executor.jobs)
    folder = StudyFolder.of(runs, record, experiment.recipe)
    with locks.lock(folder.path):
        folder.write_recipe()
        rows = folder.read_rows()
        reader = experiment
        if executor.jobs > 1:  # the jobs log what they do: only results are read here
            reader = replace(experiment, machine=replace(experiment.machine, progress=SilentProgress()))
        for seed in seeds:
            if executor.jobs > 1:
                run_seed(experiment, machine, cells, seed, runs, executor)
            for cell in cells:
                experiment.log(f"study {name}, seed {seed}, setting {cell.setting}")
                try:
                    new = _cell_rows(reader, cell, seed, runs)
                except InputError as error:
                    message = name_setting(record, str(error))
                    raise InputError(
                        f"study {name}, seed {seed}, setting {cell.setting}: {message}; finished cells are "
                        "kept"
                    ) from None
                if len(rows):
                    rows = rows[(rows.setting != cell.setting) | (rows.seed != seed)]
                rows = pd.concat([rows, new], ignore_index=True) if len(rows) else new
                result = folder.write(rows)
    return result


def forecast(name: str, experiment: Experiment, seeds: int, jobs: int = 1) -> Estimate:
    """The estimated cost of a study. Raises InputError as `study` does."""
    work = []
    for cell in _checked_cells(load_study(name), experiment, reads_images=False):
        check_jobs(cell.recipe, jobs)
        own = replace(experiment, recipe=cell.recipe)
        work.append(PlannedArms(own, cell.recipe.compare.trained, f" ({cell.setting})"))
        for source in cell.sources:
            other = replace(experiment, recipe=source.recipe)
            work.append(PlannedArms(own, (source.arm,), f" ({cell.setting})", other))
    return estimate_all(work, seeds)


def _checked_cells(study: Study, experiment: Experiment, reads_images: bool) -> list[Cell]:
    """The cells of a study. Raises InputError for those that cannot be run, as far as that can be seen."""
    cells = make_cells(study, experiment.recipe)
    for recipe in (recipe for cell in cells for recipe in cell.recipes):
        if experiment.images is None:
            data_paths.check_data_path(recipe.data, needed=reads_images)
    check_lengths(study, cells, experiment.spec, partial(_rates, PassTimer(), experiment))
    study.check_networks(experiment, cells)
    for cell in cells:
        try:
            _check_searches(experiment, cell)
        except InputError as error:
            message = name_setting(study, str(error))
            raise InputError(f"study {study.name}, setting {cell.setting}: {message}") from None
    return cells


def _check_searches(experiment: Experiment, cell: Cell) -> None:
    """Raise InputError for a search of a cell that finds no ticket of the networks."""
    recipes = [source.recipe for source in cell.sources]
    if any(needs_ticket(arm, cell.recipe) for arm in cell.recipe.compare.trained):
        recipes.append(cell.recipe)
    for recipe in recipes:
        check_search(replace(experiment, recipe=recipe), 0)


def _rates(timer: PassTimer, experiment: Experiment, recipe: Recipe, arm: str) -> EstimatedRates:
    return EstimatedRates(timer, replace(experiment, recipe=recipe), arm)


def _cell_rows(base: Experiment, cell: Cell, seed: int, runs: Path) -> pd.DataFrame:
    """The rows of one cell and seed, whose arms are trained if they are not yet."""
    experiment = replace(base, recipe=cell.recipe)
    run = compare.compare(experiment, [seed], runs)
    results = {arm: arm_result(run, seed, arm) for arm in cell.recipe.compare.arms}
    for source in cell.sources:
        results[source.arm] = _train_from(source, experiment, seed, runs)
    rows = [
        {
            "setting": cell.setting,
            "seed": seed,
            "arm": arm,
            **measured(result, results["dense"], cell.recipe.evaluate),
            ONE_CLASS: one_class_accuracy(result, cell.recipe.evaluate),
            "data": result.about["data"],
            "run": run.path.name,
        }
        for arm, result in results.items()
    ]
    return rounded(pd.DataFrame(rows))


def _train_from(source: Source, experiment: Experiment, seed: int, runs: Path) -> ArmResult:
    """The arm that starts from the ticket of another recipe, and is charged that search."""
    run, other = (RunDirectory.of(runs, recipe) for recipe in (experiment.recipe, source.recipe))
    ticket = compare.search(replace(experiment, recipe=source.recipe), seed, runs)
    try:
        with locks.lock(run.path):
            folder = TicketFileJob(experiment, seed, run, ticket, source.arm).do()
    except InputError as error:
        raise InputError(f"the ticket of {other.path}: {error}") from None
    return arm_result(run, seed, source.arm, ArmDirectory(folder), other.search(seed))
