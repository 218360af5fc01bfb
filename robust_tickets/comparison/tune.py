"""Choosing fields of a recipe by validation, with as many trials for each arm."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.comparison.arm_summary import arm_weight
from robust_tickets.comparison.estimate import Estimate, PlannedArms, estimate_all
from robust_tickets.comparison.estimated_rates import EstimatedRates, PassTimer
from robust_tickets.comparison.executors.base import Executor, Task
from robust_tickets.comparison.executors.inline import INLINE
from robust_tickets.comparison.jobs import ArmJob
from robust_tickets.comparison.preparation import on_client
from robust_tickets.data.data_paths import check_data_path
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.arms import needs_ticket
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.trials import Values, shortened, with_tuned, with_values
from robust_tickets.report.tuning import tuning_text
from robust_tickets.runs import files, locks
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import plan as planning
from robust_tickets.stages.evaluation_run import short_digest
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.search import check_search
from robust_tickets.stages.timed_plan import check_jobs
from robust_tickets.training.monitors import DivergedError

Grid = Mapping[str, Sequence[Any]]
"""Values to try, by field."""


@dataclass(frozen=True)
class Tuned:
    """What a tuning wrote.

    folder: of all files.
    recipe: the recipe with the chosen values.
    table: the trials.
    text: what was chosen, in words.
    """

    folder: Path
    recipe: Path
    table: Path
    text: str


@dataclass(frozen=True)
class _Trial:
    """An arm with some values, and how long it is trained; share: of the recipe's schedule."""

    arm: str
    values: Values
    share: float


def tune(
    experiment: Experiment,
    grid: Grid,
    arms: Sequence[str],
    seeds: Sequence[int],
    runs: Path,
    *,
    eta: int = 3,
    executor: Executor = INLINE,
) -> Tuned:
    """Choose the values of some fields for each arm, by validation accuracy after the last epoch.

    grid: values to try, by field; all their combinations are tried.
    arms: each gets every combination.
    seeds: means over these decide; they are refused in comparisons with the recipe that comes of it.
    eta: successive halving (Jamieson & Talwalkar 2016): combinations are trained for a part of the schedule,
        the best of them, one in `eta`, for `eta` times as long, and so on; the last ones for all of it.
        1: all are trained to the end.
    executor: trains the trials.

    Test images are not looked at. Writes trials.csv and tuned.toml; finished trials are not trained again.
    Raises InputError for fields that do nothing in an arm.
    """
    executor.check()
    executor.check_devices(experiment.machine)
    machine = experiment.machine
    experiment, runs = on_client(experiment, runs, executor)
    base = experiment.recipe
    combinations = _checked_combinations(experiment, grid, arms, seeds[0], eta, executor.jobs)
    experiment.prepare()
    if experiment.images is None:
        check_data_path(base.data)
    values_by_field = {field: list(values) for field, values in grid.items()}
    digest = short_digest([base.identity, values_by_field, list(arms), list(seeds), eta])
    folder = runs / f"tune-{base.name}-{digest}"
    work = _Tuning(experiment, machine, tuple(seeds), folder, executor)
    with locks.lock(folder):
        chosen = {arm: work.choose(arm, combinations, eta) for arm in arms}
        rows = pd.DataFrame(work.rows)
        table, recipe_file = folder / "trials.csv", folder / "tuned.toml"
        files.write_text(table, files.csv_text(rows, 6))
        tuned = with_tuned(base, chosen, trials=len(combinations), seeds=seeds)
        files.write_text(recipe_file, recipes.to_whole_toml(tuned))
    images, classes = base.data.val_images, experiment.spec.classes
    text = tuning_text(rows, chosen, base.evaluate.select_by, list(seeds), images, classes)
    return Tuned(folder, recipe_file, table, text)


def forecast(
    experiment: Experiment, grid: Grid, arms: Sequence[str], seeds: int, *, eta: int = 3, jobs: int = 1
) -> Estimate:
    """The estimated cost of a tuning, as if of each stage the first combinations were trained further.

    jobs: how many trials are to be trained at a time. Raises InputError as `tune` does.
    """
    combinations = _checked_combinations(experiment, grid, arms, seed=0, eta=eta, jobs=jobs)
    works = []
    for arm, (count, share) in itertools.product(arms, rungs(len(combinations), eta)):
        for values in combinations[:count]:
            own = replace(experiment, recipe=_trial_recipe(experiment.recipe, arm, values, share))
            part = "" if share == 1 else f", 1/{round(1 / share)} of the schedule"
            works.append(PlannedArms(own, (arm,), f" ({_in_words(values)}{part})", is_trial=True))
    return estimate_all(works, seeds)


def _checked_combinations(
    experiment: Experiment, grid: Grid, arms: Sequence[str], seed: int, eta: int, jobs: int
) -> list[Values]:
    """All combinations of the values. Raises InputError for a trial that cannot be trained, before any is."""
    base, combinations = experiment.recipe, _combinations(grid)
    shared = next((field for field in grid if field.startswith("search.")), None)
    if shared is not None and len(arms) > 1:
        raise InputError(f"{shared} is of the search, which {' and '.join(arms)} share: tune it for one arm")
    check_jobs(base, jobs, arms)
    timer = PassTimer()
    for arm, values in itertools.product(arms, combinations):
        whole = replace(experiment, recipe=_trial_recipe(base, arm, values, share=1))
        rates = EstimatedRates(timer, whole, arm)  # timed once, and only where a budget is in seconds
        for _, share in rungs(len(combinations), eta):
            recipe = _trial_recipe(base, arm, values, share)
            planning.check(recipe, experiment.spec, lambda arm, rates=rates: rates, (arm,))  # type: ignore[misc]
        if needs_ticket(arm, whole.recipe):
            check_search(whole, seed)
    return combinations


def _combinations(grid: Grid) -> list[Values]:
    """All combinations of the values. Raises InputError for a field without two of them."""
    if not grid:
        raise InputError("nothing to tune: give a field and its values, as --field train.lr 0.01 0.02 0.05")
    for field, values in grid.items():
        if len(set(map(str, values))) < max(2, len(values)):
            given = " ".join(map(str, values)) or "none"
            raise InputError(f"{field} needs two different values at least, got {given}")
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


class _Tuning:
    """The trials of one tuning; rows: what came of them, a row a trial and seed."""

    def __init__(
        self,
        experiment: Experiment,
        machine: Machine,
        seeds: tuple[int, ...],
        folder: Path,
        executor: Executor,
    ) -> None:
        self._experiment, self._machine, self._seeds = experiment, machine, seeds
        self._folder, self._executor = folder, executor
        self.rows: list[dict[str, Any]] = []

    def choose(self, arm: str, combinations: list[Values], eta: int) -> Values:
        """The combination with the highest accuracy; of equal ones, the first."""
        left = list(combinations)
        for survivors, share in rungs(len(combinations), eta):
            trials = [_Trial(arm, values, share) for values in left[:survivors]]
            scores = self._train(trials)
            ranked = sorted(range(len(trials)), key=lambda place: -scores[place])  # stable
            left = [trials[place].values for place in ranked]
        return left[0]

    def _train(self, trials: Sequence[_Trial]) -> list[float]:
        """Train trials on all seeds; returns the mean accuracy of each."""
        jobs = [(trial, seed, self._job(trial, seed)) for trial in trials for seed in self._seeds]
        weights = [arm_weight(job.experiment, trial.arm) for trial, _, job in jobs]
        tasks = [
            Task(f"{_name(trial)}, seed {seed}", job, weight=weight, folder=job.run.path)
            for (trial, seed, job), weight in zip(jobs, weights, strict=True)
        ]
        self._executor.run(tasks, self._machine, self._experiment.recipe.compute.threads)
        kind = self._experiment.recipe.evaluate.select_by
        scores: dict[int, list[float]] = {}
        for number, (trial, seed, job) in enumerate(jobs):
            record = _last_record(job.run, seed, trial.arm)
            scores.setdefault(number // len(self._seeds), []).append(record.get(f"val_{kind}", 0.0))
            self.rows.append(
                {
                    "arm": trial.arm,
                    **trial.values,
                    "share": round(trial.share, 4),
                    "seed": seed,
                    "epochs": record.get("epoch"),
                    "val_clean": record.get("val_clean"),
                    "val_robust": record.get("val_robust"),
                    "passes": record.get("passes"),
                    "flops": record.get("flops"),
                    "run": job.run.path.name,
                }
            )
        return [sum(values) / len(values) for values in scores.values()]

    def _job(self, trial: _Trial, seed: int) -> "TrialJob":
        recipe = _trial_recipe(self._experiment.recipe, trial.arm, trial.values, trial.share)
        experiment = replace(self._experiment, recipe=recipe)
        return TrialJob(experiment, seed, RunDirectory.of(self._folder / "trials", recipe), trial.arm)


def _trial_recipe(base: Recipe, arm: str, values: Values, share: float) -> Recipe:
    """The recipe of a trial that is trained for a share of the schedule."""
    searches = any(field.startswith("search.") for field in values)
    return shortened(with_values(base, arm, values), share, searches=searches)


def rungs(trials: int, eta: int) -> list[tuple[int, float]]:
    """How many trials are trained in each stage, and for what share of the schedule; the last share is 1."""
    if eta < 2:
        return [(trials, 1.0)]
    counts = [trials]
    while counts[-1] > eta:
        counts.append(-(-counts[-1] // eta))
    return [(count, 1 / eta ** (len(counts) - 1 - stage)) for stage, count in enumerate(counts)]


class TrialJob(ArmJob):
    """An arm of one seed that is trained and not evaluated, so that no test image is looked at."""

    def __call__(self, machine: Machine) -> Path:
        with locks.lock(self.run.path):
            return super().__call__(machine)

    def do(self) -> Path:
        """Train; returns the arm's folder. A training that diverges leaves a file that says so."""
        folder = self.run.arm(self.seed, self.arm)
        if folder.diverged.is_file():
            return folder.path
        try:
            return self.train()[0].path
        except DivergedError as error:
            self.experiment.log(f"{self.arm}, seed {self.seed}: {error}; this trial counts as accuracy 0")
            files.write_json(folder.diverged, {"reason": str(error)})
            return folder.path


def _last_record(run: RunDirectory, seed: int, arm: str) -> dict[str, Any]:
    """The record of an arm's last epoch; empty for one that diverged."""
    folder: ArmDirectory = run.arm(seed, arm)
    if folder.diverged.is_file():
        return {}
    return files.read_jsonl(folder.metrics)[-1]


def _name(trial: _Trial) -> str:
    return f"{trial.arm}, {_in_words(trial.values)}"


def _in_words(values: Values) -> str:
    return ", ".join(f"{field} {value}" for field, value in values.items())
