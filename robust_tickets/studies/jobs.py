"""The tasks of a study for one seed, several at a time; what its cells share is done once."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from robust_tickets.base.machine import Machine
from robust_tickets.comparison import compare
from robust_tickets.comparison.arm_summary import arm_weight
from robust_tickets.comparison.estimated_rates import rates_of
from robust_tickets.comparison.executors.base import Executor, Task
from robust_tickets.comparison.jobs import ArmJob, SearchJob, TicketFileJob
from robust_tickets.comparison.preparation import after_preparation, prepare
from robust_tickets.runs import locks
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import plan
from robust_tickets.stages.experiment import Experiment, search_fields
from robust_tickets.stages.reuse import arm_key
from robust_tickets.studies.base import Cell


def run_seed(
    experiment: Experiment,
    machine: Machine,
    cells: Sequence[Cell],
    seed: int,
    runs: Path,
    executor: Executor,
) -> None:
    """Run all that is not done yet for a seed of a study. Raises InputError as the first failed task does.

    machine: as the executor gives it to the tasks.
    runs: the folder of the run directories.
    executor: runs the arms.
    """
    with ExitStack() as stack:
        tasks: list[Task] = []
        works: dict[Path, tuple[Experiment, RunDirectory]] = {}
        for cell in cells:
            for recipe in cell.recipes:
                run = RunDirectory.of(runs, recipe)
                stack.enter_context(locks.lock(run.path))
                work = replace(experiment, recipe=recipe)
                works[run.path] = work, run
                if executor.is_here:
                    prepare(work, [seed], run)
            new = _tasks(experiment, cell, seed, runs)
            tasks += [replace(task, after=tuple(len(tasks) + i for i in task.after)) for task in new]
        threads = experiment.recipe.compute.threads
        todo = in_order(tasks)
        if not executor.is_here:
            todo = after_preparation(todo, list(works.values()), [seed])
        executor.run(todo, machine, threads)


def _tasks(experiment: Experiment, cell: Cell, seed: int, runs: Path) -> list[Task]:
    """The tasks of a cell."""
    own, run = replace(experiment, recipe=cell.recipe), RunDirectory.of(runs, cell.recipe)
    label = f"{cell.setting}: "
    tasks = compare.tasks(own, [seed], run, label)
    for source in cell.sources:
        folder = RunDirectory.of(runs, source.recipe)
        finder = replace(experiment, recipe=source.recipe)
        # not the cell's own search
        other = f"{cell.setting}, for {source.arm}: "
        tasks.append(compare.search_task(finder, seed, folder, other))
        train = TicketFileJob(own, seed, run, folder.search(seed).ticket, source.arm)
        # after the cell's own arms, too: where the tickets are the same, so are the arms
        weight = arm_weight(own, source.arm)
        name, after = f"{label}{source.arm}, seed {seed}", tuple(range(len(tasks)))
        tasks.append(Task(name, train, after, label, weight, folder=run.path))
    return tasks


def in_order(tasks: Sequence[Task]) -> list[Task]:
    """The tasks, each of which also waits for the one before it with the same result, which it then copies.

    Searches that differ in their rounds alone continue each other, so that they wait too.
    """
    latest: dict[str, int] = {}
    ordered = []
    for i, task in enumerate(tasks):
        key = _key(task)
        before = (latest[key],) if key in latest else ()
        latest[key] = i
        ordered.append(replace(task, after=(*task.after, *before)))
    return ordered


def _key(task: Task) -> str:
    """A text that two tasks share if they have the same result."""
    job = task.do
    if isinstance(job, ArmJob):
        recipe = job.experiment.recipe
        search = _search_key(job.experiment, recipe.search.rounds) if job.needs_ticket else None
        rates = rates_of(job.experiment)(job.arm)
        schedule = plan.plan(recipe, job.arm, job.experiment.spec, rates=rates)
        return arm_key(recipe, schedule, search, job.seed, {})
    if isinstance(job, SearchJob):
        return f"search {job.seed} {_search_key(job.experiment, 0)}"
    assert isinstance(job, TicketFileJob)
    return f"{job.arm} from {job.ticket} {job.run.path}"


def _search_key(experiment: Experiment, rounds: int) -> str:
    return json.dumps(search_fields(experiment.recipe, rounds), sort_keys=True)
