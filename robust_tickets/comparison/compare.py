"""A comparison: the arms of a recipe for several seeds, then the report."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from robust_tickets.base.errors import InputError
from robust_tickets.comparison.arm_summary import arm_summary, arm_weight, search_summary
from robust_tickets.comparison.estimated_rates import rates_of
from robust_tickets.comparison.executors.base import Executor, Task
from robust_tickets.comparison.executors.inline import INLINE
from robust_tickets.comparison.jobs import ArmJob, SearchJob, train_from_file
from robust_tickets.comparison.judge_front import front_tasks
from robust_tickets.comparison.preparation import after_preparation, on_client, prepare
from robust_tickets.data.data_paths import check_data_path
from robust_tickets.recipe.arm_training import arm_trainings
from robust_tickets.recipe.arms import needs_ticket
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.read import missing_part
from robust_tickets.report.write import write_report
from robust_tickets.runs import locks
from robust_tickets.runs.curve import early_steps
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import costs
from robust_tickets.stages import plan as planning
from robust_tickets.stages import search as search_stage
from robust_tickets.stages.experiment import Experiment, check_other_inits
from robust_tickets.stages.reuse import check_finished
from robust_tickets.stages.timed_plan import check_jobs, check_one_machine


def compare(
    experiment: Experiment, seeds: Sequence[int], runs: Path, executor: Executor = INLINE
) -> RunDirectory:
    """Run all arms of all seeds that are not done yet, then write the report (`report.write_report`).

    runs: the folder of the run directories.
    executor: runs the arms.
    Raises InputError for a recipe that the images do not fit, before anything is run.
    """
    executor.check()
    executor.check_devices(experiment.machine)
    machine = experiment.machine
    experiment, runs = on_client(experiment, runs, executor)
    recipe = experiment.recipe
    experiment.prepare()
    if experiment.images is None:
        check_data_path(recipe.data)
    check_jobs(recipe, executor.jobs)
    _check_seeds(recipe, seeds)
    run = RunDirectory.of(runs, recipe)
    not_fixed = [arm for arm in recipe.compare.trained if _to_be_planned(experiment, seeds, run, arm)]
    planning.check(recipe, experiment.spec, rates_of(experiment), not_fixed)
    _check_searches(experiment, seeds, run)
    with locks.lock(run.path):
        if executor.jobs > 1 and executor.is_here:
            prepare(experiment, seeds, run)
        for seed in seeds:  # now rather than after the hours that other arms take
            _check_finished_arms(experiment, seed, run)
        todo = tasks(experiment, seeds, run)
        if not executor.is_here:
            todo = after_preparation(todo, [(experiment, run)], seeds)
        executor.run(todo, machine, recipe.compute.threads)
        for seed in seeds:
            for arm in recipe.compare.trained:
                missing = missing_part(run, seed, arm)
                if missing:  # its ledger says that the arm is finished
                    raise InputError(f"{missing}: remove {run.arm(seed, arm)} and run compare again")
        executor.run(front_tasks(experiment, run), machine, recipe.compute.threads)
        write_report(run)
    return run


def _check_seeds(recipe: Recipe, seeds: Sequence[int]) -> None:
    """Raise InputError for seeds on which fields of the recipe were chosen."""
    for arm, record in recipe.tuned.tables.items():
        shared = sorted(set(seeds) & set(record["seeds"]))
        if shared:
            raise InputError(
                f"seed {shared[0]} chose {' and '.join(record['fields'])} of {arm}, and would flatter it: "
                "compare on other seeds, by --seed"
            )


def _to_be_planned(experiment: Experiment, seeds: Sequence[int], run: RunDirectory, arm: str) -> bool:
    """Whether the length of an arm of a seed is not fixed in its folder yet.

    Raises InputError where it cannot be any more, since it follows from seconds of another machine.
    """
    if all(run.arm(seed, arm).length.is_file() for seed in seeds):
        return False
    check_one_machine(arm, run, experiment.machine)
    return True


def _check_searches(experiment: Experiment, seeds: Sequence[int], run: RunDirectory) -> None:
    """Raise InputError where a search that is still to be done does not fit the network."""
    if any(needs_ticket(arm, experiment.recipe) for arm in experiment.recipe.compare.trained):
        for seed in seeds:
            if not run.search(seed).is_finished:
                search_stage.check_search(experiment, seed)
                return


def _check_finished_arms(experiment: Experiment, seed: int, run: RunDirectory) -> None:
    """Raise InputError where a finished arm of a seed has lost files."""
    recipe = experiment.recipe
    for arm in recipe.compare.trained:
        folder = run.arm(seed, arm)
        if folder.is_finished:
            per_epoch = planning.steps_of_epoch(recipe, arm, experiment.spec)
            check_finished(folder, early_steps(recipe.evaluate, per_epoch))


def tasks(experiment: Experiment, seeds: Sequence[int], run: RunDirectory, label: str = "") -> list[Task]:
    """The tasks of a comparison, each after those that it waits for.

    label: stands before the names of the tasks and the lines that they log.
    Raises InputError for arms that need a new init of a network that has one.
    """
    recipe = experiment.recipe
    check_other_inits(experiment, seeds, recipe.compare.trained)
    _warn_of_selection(experiment)
    net = experiment.fresh_net(seeds[0])
    for arm, training in {"dense": recipe.train, **arm_trainings(recipe)}.items():
        names = planning.field_names(recipe, arm, training)
        experiment.check_batch(net, training, names("batch"))  # now rather than after the search
    all_tasks: list[Task] = []
    weights = {arm: arm_weight(experiment, arm) for arm in recipe.compare.trained}
    for seed in seeds:
        jobs = [ArmJob(experiment, seed, run, arm) for arm in recipe.compare.trained]
        # the ticket and its arms first, as a search can fail where dense training cannot
        jobs.sort(key=lambda job: not job.needs_ticket)
        # each seed begins one arm further on: a machine that slows down then wrongs all arms alike
        first = seed % len(jobs)
        jobs = sorted(jobs[first:] + jobs[:first], key=lambda job: job.waits_for_ticket_arm)
        search: tuple[int, ...] = ()
        if any(job.needs_ticket for job in jobs):
            search = (len(all_tasks),)
            all_tasks.append(search_task(experiment, seed, run, label))
        arms = [job.arm for job in jobs]
        for job in jobs:
            after = search if job.needs_ticket else ()
            if job.waits_for_ticket_arm:
                after += (len(all_tasks) - arms.index(job.arm) + arms.index("ticket"),)
            name, summary = f"{label}{job.arm}, seed {seed}", partial(arm_summary, run, seed, job.arm)
            done = partial(_is_done, run, seed, job.arm)
            all_tasks.append(Task(name, job, after, label, weights[job.arm], summary, done, run.path))
    return all_tasks


def _warn_of_selection(experiment: Experiment) -> None:
    """Warn where networks without adversarial training are selected by what they do not have."""
    recipe = experiment.recipe
    methods = {recipe.train.method, *(training.method for training in arm_trainings(recipe).values())}
    if methods == {"natural"} and recipe.evaluate.select_by == "robust":
        experiment.machine.progress.warn_once(
            "train.method natural trains no robustness, and evaluate.select_by robust selects the best epoch "
            "and judges studies under attack: evaluate.select_by clean would go by clean accuracy"
        )


def search_task(experiment: Experiment, seed: int, run: RunDirectory, label: str) -> Task:
    """The task of the search of a seed; label: begins its name."""
    weight = costs.search_cost(experiment.recipe, experiment.spec)
    summary = partial(search_summary, run.search(seed))
    job = SearchJob(experiment, seed, run)
    return Task(
        f"{label}search, seed {seed}",
        job,
        label=label,
        weight=weight,
        summary=summary,
        is_done=lambda: run.search(seed).is_finished,
        folder=run.path,
    )


def _is_done(run: RunDirectory, seed: int, arm: str) -> bool:
    """Whether an arm is trained and evaluated."""
    return run.arm(seed, arm).is_finished and not missing_part(run, seed, arm)


def search(experiment: Experiment, seed: int, runs: Path) -> Path:
    """Find the ticket of one seed; returns its file."""
    run = RunDirectory.of(runs, experiment.recipe)
    if not run.search(seed).is_finished:
        search_stage.check_search(experiment, seed)
    with locks.lock(run.path):
        return search_stage.search(experiment, seed, run)


def train_from(experiment: Experiment, seed: int, runs: Path, ticket: Path | None) -> Path:
    """Train dense on the full schedule, or from a ticket's file on the short one; returns the arm's folder.

    Raises InputError for a ticket that does not fit.
    """
    run = RunDirectory.of(runs, experiment.recipe)
    with locks.lock(run.path):
        return train_from_file(experiment, seed, run, ticket).path
