"""All that a study has to run for a seed, side by side; what its cells share is made once."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from robust_tickets.base.machine import Machine
from robust_tickets.comparison import compare, executors
from robust_tickets.comparison.executors import Task
from robust_tickets.comparison.jobs import ArmJob, SearchJob, TicketFileJob
from robust_tickets.runs import locks
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import plan
from robust_tickets.stages.experiment import Experiment, search_fields
from robust_tickets.stages.reuse import arm_key
from robust_tickets.studies.grid import Cell


def work_off(
    what: Experiment, grid: Sequence[Cell], seed: int, runs: Path, machine: Machine, jobs: int
) -> None:
    """Run what is missing of a seed's cells. Raises InputError as the first task that fails does."""
    with ExitStack() as stack:
        made: list[Task] = []
        for cell in grid:
            here = replace(what, recipe=cell.recipe)
            run = RunDirectory.of(runs, cell.recipe)
            label = f"{cell.setting}: "
            stack.enter_context(locks.lock(run.path))
            compare.prepare(here, [seed], run, machine)
            new = compare.tasks(here, [seed], run, label)
            made += [replace(t, after=tuple(len(made) + i for i in t.after)) for t in new]
            if cell.source is not None:
                there = replace(what, recipe=cell.source)
                source = RunDirectory.of(runs, cell.source)
                stack.enter_context(locks.lock(source.path))
                compare.prepare(there, [seed], source, machine)
                search = Task(f"{label}search, seed {seed}", SearchJob(there, seed, source), label=label)
                job = TicketFileJob(here, seed, run, source.search(seed).ticket)
                # after the cell's own arms, too: where the tickets are the same, so are the arms
                after = range(len(made) - len(new), len(made) + 1)
                made += [search, Task(f"{label}ticket-from, seed {seed}", job, tuple(after), label)]
        threads = what.recipe.compute.threads
        executors.run_tasks(in_turn(made, machine), jobs, machine, threads)


def in_turn(tasks: Sequence[Task], machine: Machine) -> list[Task]:
    """The tasks, each of which also waits for the one before it that makes the same: it then takes that over.

    Searches that differ in their rounds alone go on from each other, so that they wait too.
    """
    latest: dict[str, int] = {}
    ordered = []
    for i, task in enumerate(tasks):
        key = _made_by(task, machine)
        before = (latest[key],) if key in latest else ()
        latest[key] = i
        ordered.append(replace(task, after=(*task.after, *before)))
    return ordered


def _made_by(task: Task, machine: Machine) -> str:
    """What two tasks that make the same have in common."""
    job = task.do
    if isinstance(job, ArmJob):
        recipe = job.experiment.recipe
        spec = job.experiment.spec(machine)
        search = _search_of(job.experiment, recipe.search.rounds) if job.needs_ticket else None
        return arm_key(recipe, plan.plan(recipe, job.arm, spec), search, job.seed, {})
    if isinstance(job, SearchJob):
        return f"search {job.seed} {_search_of(job.experiment, 0)}"
    assert isinstance(job, TicketFileJob)
    return f"from {job.ticket} {job.run.path}"


def _search_of(what: Experiment, rounds: int) -> str:
    part: dict[str, Any] = search_fields(what.recipe, rounds)
    return json.dumps(part, sort_keys=True)
