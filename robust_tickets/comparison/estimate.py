"""What a comparison would cost, before it is run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import pandas as pd

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine_load import MachineLoad
from robust_tickets.comparison.estimated_rates import EstimatedRates, PassTimer, arm_flops, whole_flops
from robust_tickets.comparison.evaluation_cost import evaluation_passes, whole_passes
from robust_tickets.comparison.schedule import TimedTask, chain, makespan, repeated
from robust_tickets.comparison.timed_passes import evaluation_pass_seconds
from robust_tickets.data.data_paths import check_data_path
from robust_tickets.data.dataset import Spec
from robust_tickets.models.norm_statistics import has_statistics
from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.fields import CHECKPOINTS
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Training
from robust_tickets.stages import costs
from robust_tickets.stages import plan as planning
from robust_tickets.stages.experiment import Experiment, search_fields
from robust_tickets.stages.plan import ArmPlan
from robust_tickets.stages.reuse import arm_key
from robust_tickets.stages.timed_plan import check_jobs

MACHINES = (2, 8, 64)
"""Numbers of machines for which the time is told."""

_UNITS = {"days": 86400, "hours": 3600}
_FLOPS = {"P": 1e15, "T": 1e12, "G": 1e9}


@dataclass(frozen=True)
class Estimate:
    """What a comparison would cost.

    rows: of one seed, a row an arm, a search and a first stage, and one for validation and evaluation.
    seconds: of search and training of all seeds, on this machine.
    evaluation_seconds: at most, of validation and evaluation of all seeds.
    whole_seconds: at most, of the rest of AutoAttack on one arm on the frontier, which is known at the end.
    tasks: the searches and arms of all seeds with their seconds, validation and evaluation included; empty
        where one machine must do them all.
    warning: what to know of the seconds; empty where there is nothing.
    """

    rows: pd.DataFrame
    seconds: float
    evaluation_seconds: float
    whole_seconds: float = 0.0
    tasks: tuple[TimedTask, ...] = ()
    warning: str = ""

    def __str__(self) -> str:
        """The rows, and the time of all seeds."""
        table = self.rows.assign(flops=_in_one_unit(list(self.rows.flops)))
        lines = [
            table.to_string(index=False),
            "all seeds, on this machine:",
            f"  about {_duration(self.seconds)} of search and training",
            f"  at most {_duration(self.evaluation_seconds)} of validation and evaluation: images that an "
            "attack breaks take little of it",
        ]
        if self.whole_seconds:
            whole = _duration(self.whole_seconds)
            lines.append(f"  at most {whole} more for each arm on the frontier and seed: FAB-T and Square")
        if len(self.tasks) > 1:
            numbers = ", ".join(map(str, MACHINES))
            times = ", ".join(_duration(makespan(self.tasks, machines)) for machines in MACHINES)
            longest = _duration(chain(self.tasks))
            lines.append(f"on {numbers} such machines: at most {times} (the longest chain: {longest})")
        return "\n".join([*lines, *([f"WARNING: {self.warning}"] if self.warning else [])])


@dataclass(frozen=True)
class PlannedArms:
    """Arms of an experiment that are to be trained.

    label: follows their names in the table, to tell them from those of other experiments.
    source: the experiment that finds their ticket; None: the same.
    is_trial: whether test images are not looked at.
    """

    experiment: Experiment
    arms: tuple[str, ...]
    label: str = ""
    source: Experiment | None = None
    is_trial: bool = False

    @property
    def finder(self) -> Experiment:
        """The experiment whose search finds their ticket."""
        return self.source or self.experiment


def estimate(experiment: Experiment, seeds: int, jobs: int = 1) -> Estimate:
    """Estimate the cost of a comparison; see `estimate_all`.

    jobs: how many arms are to be trained at a time.
    Raises InputError as `compare` does.
    """
    check_jobs(experiment.recipe, jobs)
    return estimate_all([PlannedArms(experiment, experiment.recipe.compare.trained)], seeds)


def estimate_all(works: Sequence[PlannedArms], seeds: int) -> Estimate:
    """Passes and FLOPs exactly, by arithmetic; seconds from a few steps timed now on random images.

    Channel tickets are counted as if each layer lost the same share of its channels. An arm or a search that
    several experiments share is counted with the first. Validation and evaluation are counted as if no sample
    broke, so they are an upper bound, as are searches that may end early; they are timed apart, in float32
    without an update. Where a step is expensive, smaller batches are timed instead, whose samples are slower.
    """
    tally, load = _Tally(), MachineLoad()
    with load.watch():
        for work in works:
            tally.add(work)
    result = replace(tally.estimate(seeds), warning=load.warning)
    return result if all(map(_takes_jobs, works)) else replace(result, tasks=())


def _takes_jobs(work: PlannedArms) -> bool:
    """Whether several machines may share the arms."""
    try:
        check_jobs(work.experiment.recipe, 2, work.arms if work.is_trial else None)
    except InputError:
        return False
    return True


class _Row(NamedTuple):
    """A row of the estimate of one seed."""

    arm: str
    epochs: str
    passes: int
    flops: int
    estimated_seconds: float


class _Tally:
    """Adds up experiments; whatever they share is counted once."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []
        self._checks = _Row("validation and evaluation, at most", "", 0, 0, 0.0)
        self._whole_seconds = 0.0
        self._tasks: list[TimedTask] = []
        self._searches: dict[str, int] = {}
        self._counted: set[str] = set()
        self._timer = PassTimer()
        self._rates: dict[tuple[object, ...], float] = {}

    def estimate(self, seeds: int) -> Estimate:
        """The table so far, and the seconds of so many seeds."""
        table = pd.DataFrame([*self._rows, self._checks])
        table["estimated_seconds"] = table.estimated_seconds.round(1)
        *training, checks = (float(each) * seeds for each in table.estimated_seconds)
        tasks = tuple(repeated(self._tasks, seeds))
        return Estimate(table, sum(training), checks, self._whole_seconds, tasks)

    def add(self, work: PlannedArms) -> None:
        """Add the arms of an experiment, and the searches and first stages that they need."""
        experiment, recipe = work.experiment, work.experiment.recipe
        if experiment.images is None:
            check_data_path(recipe.data, needed=False)
        spec = experiment.spec
        experiment.prepare()
        rates = partial(EstimatedRates, self._timer, experiment)
        planning.check(recipe, spec, rates, work.arms if work.is_trial else None)
        flops, statistics = whole_flops(experiment), has_statistics(experiment.fresh_net(0))
        finder = work.finder.recipe
        search = json.dumps(search_fields(finder, finder.search.rounds), sort_keys=True)
        for name in work.arms:
            arm, seconds = ARMS[name], 0.0
            if arm.has_first_stage:
                first = planning.first_stage(recipe, name, spec)
                if self._is_new(arm_key(recipe, first, None, 0, {})):
                    seconds += self._add_training(work, first, flops, flops, statistics)
                    seconds += self._add_checks(work, _validation_passes(recipe, first), flops)
            if arm.uses_ticket and self._is_new(search):
                validations = costs.search_plan(finder, spec).validations
                checks = validations * _passes_of_validation(finder, finder.search)
                taken = self._add_search(work, work.finder.spec) + self._add_checks(work, checks, flops)
                self._searches[search] = len(self._tasks)
                self._tasks.append(TimedTask(taken))
            plan = planning.plan(recipe, name, spec, rates=rates(name))
            if self._is_new(arm_key(recipe, plan, search if arm.uses_ticket else None, 0, {})):
                names = [name for name in CHECKPOINTS if name != "average" or plan.is_averaged]
                checks = _validation_passes(recipe, plan)
                checks += 0 if work.is_trial else evaluation_passes(experiment, names)
                seconds += self._add_training(
                    work, plan, arm_flops(experiment, name, flops), flops, statistics
                )
                seconds += self._add_checks(work, checks, flops)
                after = (self._searches[search],) if arm.uses_ticket else ()
                self._tasks.append(TimedTask(seconds, after))
        if not work.is_trial:
            whole = whole_passes(experiment) * self._evaluation_rate(experiment, flops)
            self._whole_seconds = max(self._whole_seconds, whole)

    def _is_new(self, key: str) -> bool:
        """Whether a training or search has not been counted yet; from now on it has."""
        if key in self._counted:
            return False
        self._counted.add(key)
        return True

    def _add_training(
        self, work: PlannedArms, plan: ArmPlan, flops: int, whole: int, statistics: bool
    ) -> float:
        """Add a training of a network of so many forward FLOPs; returns its seconds.

        whole: those of the whole network; statistics: whether it has those of BatchNorm.
        """
        classes = work.experiment.spec.classes
        passes = costs.training_passes(plan.training, plan.steps, classes, plan.per_epoch, statistics)
        rate = self._timer.seconds(work.experiment, plan.training, whole)
        seconds = passes.cost * rate * flops / whole
        epochs = f"{plan.epochs:.4g}"
        label = f"{plan.arm}{work.label}{_bound(plan.training)}"
        self._rows.append(_Row(label, epochs, passes.total, passes.cost * flops, seconds))
        return seconds

    def _add_checks(self, work: PlannedArms, passes: int, flops: int) -> float:
        """Add passes of validation and evaluation; returns their seconds. flops: of a pass."""
        taken = passes * self._evaluation_rate(work.experiment, flops)
        _, _, before, total, seconds = self._checks
        self._checks = self._checks._replace(
            passes=before + passes, flops=total + passes * flops, estimated_seconds=seconds + taken
        )
        return taken

    def _add_search(self, work: PlannedArms, spec: Spec) -> float:
        """Add a search; returns its seconds."""
        recipe, flops = work.finder.recipe, whole_flops(work.finder)
        plan, cost = costs.search_plan(recipe, spec), costs.search_cost(recipe, spec)
        passes = costs.search_passes(recipe, spec).total
        seconds = cost * self._timer.seconds(work.finder, recipe.search, flops)
        epochs = f"{plan.steps / plan.per_epoch:.4g}"
        name = f"search for {work.arms[0]}" if work.source else "search"
        label = f"{name}{work.label}{_bound(recipe.search)}"
        self._rows.append(_Row(label, epochs, passes, round(cost * flops), seconds))
        return seconds

    def _evaluation_rate(self, experiment: Experiment, flops: int) -> float:
        """Seconds of a pass of validation and evaluation, which are in float32 in any case."""
        recipe = experiment.recipe
        key = (recipe.model, recipe.threat, recipe.evaluate.batch, recipe.compute)
        if key not in self._rates:
            self._rates[key] = evaluation_pass_seconds(experiment, flops)
        return self._rates[key]


def _bound(training: Training) -> str:
    """Follows the label of a training whose cost depends on the data."""
    return ", at most" if make_method(training).costs_at_most else ""


def _validation_passes(recipe: Recipe, plan: ArmPlan) -> int:
    """Passes of all validations of a training if no sample broke, those of its average among them."""
    passes = plan.validations * _passes_of_validation(recipe, plan.training)
    if plan.is_averaged:
        passes += plan.ends * _passes_of_validation(recipe)
    return passes


def _passes_of_validation(recipe: Recipe, training: Training | None = None) -> int:
    """Passes of a validation if no sample broke: 2 a step, 1 clean, 1 final verdict, 1 for the loss.

    training: what the network is trained by; None: the average of its weights is validated, without FGSM.
    """
    fgsm = 2 + 1 if training is not None and make_method(training).single_step else 0
    return (2 * recipe.evaluate.val_steps + 3 + fgsm) * recipe.data.val_images


def _in_one_unit(flops: Sequence[int]) -> list[str]:
    """FLOPs in the largest unit of which all that cost anything are one or more."""
    least = min(filter(None, flops), default=0)
    unit = next((unit for unit, size in _FLOPS.items() if least >= size), "G")
    return [f"{each / _FLOPS[unit]:,.3f} {unit}" for each in flops]


def _duration(seconds: float) -> str:
    """Seconds in the largest unit of which there are at least two."""
    for unit, size in _UNITS.items():
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} seconds"
