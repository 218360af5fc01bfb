"""A comparison: arms times seeds, each a job that shares nothing with the others but the ticket's file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.comparison import executors
from robust_tickets.comparison.executors import Task
from robust_tickets.data import data_paths
from robust_tickets.data.dataset import Spec
from robust_tickets.recipe.fields import FIRST_STAGE, TICKET_ARMS, Arm
from robust_tickets.report import read, write
from robust_tickets.runs import files, locks
from robust_tickets.runs.directory import ArmDirectory, RunDirectory
from robust_tickets.stages import evaluate, experiment, train
from robust_tickets.stages import plan as planning
from robust_tickets.stages import search as search_stage
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.plan import ArmPlan
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.tickets.transforms import TRANSFORMS
from robust_tickets.training.checkpoint import Checkpoint

T = TypeVar("T")


@dataclass(frozen=True)
class SearchJob:
    """The search of one seed."""

    what: Experiment
    seed: int
    run: RunDirectory

    def __call__(self, machine: Machine) -> Path:
        """Search, unless the ticket is there already; gives its file."""
        return search_stage.search(self.what, self.seed, self.run, machine)


@dataclass(frozen=True)
class GivenTicketJob:
    """An arm that begins from the ticket that another recipe's search has found."""

    what: Experiment
    seed: int
    run: RunDirectory
    ticket: Path

    def __call__(self, machine: Machine) -> ArmDirectory:
        """Train and evaluate what is not there already; gives the arm's folder."""
        return _evaluated(
            _trained_from(self.what, self.seed, self.run, machine, self.ticket), self.what, machine
        )


@dataclass(frozen=True)
class ArmJob:
    """One arm of one seed: its training, from its search's ticket where it has one, and its evaluation."""

    what: Experiment
    seed: int
    arm: Arm
    run: RunDirectory

    def __call__(self, machine: Machine) -> ArmDirectory:
        """Do what is not there already; gives the arm's folder."""
        what, spec = self.what, self.what.spec(machine)
        plan = planning.plan(what.recipe, self.arm, spec)
        ticket = searched = None
        if plan.from_ticket:
            ticket = self._ticket(machine)
            if self.arm.removeprefix("ticket-") in TRANSFORMS:
                init = experiment.other_init(what, self.seed, machine)
                ticket = TRANSFORMS[self.arm.removeprefix("ticket-")](ticket, init, self.seed)
        elif plan.size:
            what = experiment.narrow_experiment(what, self._ticket(machine), plan.size, machine)
        elif self._follows_ticket:
            searched = experiment.ticket_cost(what, self._ticket(machine), machine)
            plan = planning.plan(what.recipe, self.arm, spec, searched)
        if self.arm == "dense-staged" and not self._has_both_stages:
            ticket = self._first_stage(planning.first_stage(what.recipe, spec, searched), machine)
        return _evaluated(train.train(what, self.seed, self.run, machine, plan, ticket), what, machine)

    def needs_ticket(self, spec: Spec) -> bool:
        """Whether the search of its seed has to come before it."""
        plan = planning.plan(self.what.recipe, self.arm, spec)
        return plan.from_ticket or bool(plan.size) or self._follows_ticket

    @property
    def _follows_ticket(self) -> bool:
        """Whether what the ticket really cost decides how long it trains."""
        paid_alike = self.arm in ("dense-equal-cost", "dense-staged")
        return paid_alike and bool(set(TICKET_ARMS) & set(self.what.recipe.compare.arms))

    @property
    def _has_both_stages(self) -> bool:
        """Whether dense-staged is trained to its end, so that nobody needs what its first stage has left."""
        folders = (self.run.arm(self.seed, stage) for stage in (FIRST_STAGE, self.arm))
        return all(folder.is_finished for folder in folders)

    def _first_stage(self, plan: ArmPlan, machine: Machine) -> Ticket:
        """What the second stage begins from: the whole net, as the first has trained it."""
        folder = train.train(self.what, self.seed, self.run, machine, plan, None)
        _check_weights(folder)
        ledger = files.read_object(folder.ledger, f"remove {folder} and run compare again")
        last = _loaded(Checkpoint.load, folder.last)
        return experiment.unpruned_ticket(self.what, last, self.seed, ledger)

    def _ticket(self, machine: Machine) -> Ticket:
        return _loaded(Ticket.load, search_stage.search(self.what, self.seed, self.run, machine))


def _loaded(load: Callable[[Path], T], file: Path) -> T:
    """What a stage has left in a run directory. Raises InputError, which says how to have it again."""
    try:
        return load(file)
    except InputError as error:
        raise InputError(f"{error}; here: remove {file.parent} and give the same command again") from None


def _evaluated(folder: ArmDirectory, what: Experiment, machine: Machine) -> ArmDirectory:
    """An arm's folder, its checkpoints evaluated."""
    for checkpoint in folder.checkpoints:
        evaluate.evaluate(checkpoint, what, machine)
    return folder


def tasks(
    what: Experiment, seeds: Sequence[int], run: RunDirectory, spec: Spec, label: str = ""
) -> list[Task]:
    """All that a comparison has to do, what other tasks wait for before them."""
    made: list[Task] = []
    for seed in seeds:
        jobs = [ArmJob(what, seed, arm, run) for arm in what.recipe.compare.trained]
        needing = [job for job in jobs if job.needs_ticket(spec)]
        before: tuple[int, ...] = ()
        if needing:
            # the ticket first, as its search can fail where dense training cannot
            made.append(Task(f"{label}search, seed {seed}", SearchJob(what, seed, run), label=label))
            before = (len(made) - 1,)
        for job in [*needing, *(job for job in jobs if job not in needing)]:
            after = before if job in needing else ()
            made.append(Task(f"{label}{job.arm}, seed {seed}", job, after, label))
    return made


def compare(
    what: Experiment, seeds: Sequence[int], runs: Path, machine: Machine, jobs: int = 1
) -> RunDirectory:
    """Run all arms of all seeds that are not there yet, then write the report (`report.write_report`).

    As many as `jobs` of them are under way beside each other.
    """
    recipe = what.recipe
    machine.prepare(recipe.compute)
    spec = what.spec(machine)
    if what.images is None:
        data_paths.check_data_path(recipe.data)
    planning.check(recipe, spec)  # now, rather than when an hour's training has to be thrown away
    run = RunDirectory.of(runs, recipe)
    with locks.lock(run.path):
        if jobs > 1:
            prepare(what, seeds, run, machine)
        executors.run_tasks(tasks(what, seeds, run, spec), jobs, machine, recipe.compute.threads)
        for seed in seeds:
            for arm in recipe.compare.trained:
                lacks = read.missing_part(run, seed, arm)
                if lacks:  # of an arm that is there already, as its ledger says
                    raise InputError(f"{lacks}: remove {run.arm(seed, arm)} and run compare again")
        write.write_report(run)
    return run


def prepare(what: Experiment, seeds: Sequence[int], run: RunDirectory, machine: Machine) -> None:
    """Check and write, once, what describes a run, before several jobs do it at the same time.

    Raises InputError where the run was begun on another machine or with other inputs, and for images that
    cannot be read.
    """
    what.load(machine)  # downloaded and decoded before several jobs would do it at the same time
    inputs: dict[str, str] = {}
    for seed in seeds:
        inputs |= what.inputs(seed, machine)
    run.check_inputs(inputs)
    run.check_machine(machine.device)
    run.begin(machine.device, inputs)


def search(what: Experiment, seed: int, runs: Path, machine: Machine) -> Path:
    """Find the ticket of one seed; gives its file."""
    run = RunDirectory.of(runs, what.recipe)
    with locks.lock(run.path):
        return search_stage.search(what, seed, run, machine)


def train_from(what: Experiment, seed: int, runs: Path, machine: Machine, ticket_file: Path | None) -> Path:
    """Train dense on the full schedule, or from a ticket on the short one; gives the arm's folder.

    A ticket that this recipe's own search found is the arm `ticket` of `compare`; any other has an arm of its
    own. Raises InputError for a ticket that does not fit.
    """
    run = RunDirectory.of(runs, what.recipe)
    with locks.lock(run.path):
        return _trained_from(what, seed, run, machine, ticket_file).path


def _trained_from(
    what: Experiment, seed: int, run: RunDirectory, machine: Machine, ticket_file: Path | None
) -> ArmDirectory:
    ticket = None if ticket_file is None else Ticket.load(ticket_file)
    plan = planning.plan(what.recipe, "dense" if ticket is None else "ticket", what.spec(machine))
    own = run.search(seed).ticket
    if ticket is not None and not (own.is_file() and Ticket.load(own).hash == ticket.hash):
        plan = replace(plan, arm=f"ticket-{ticket.hash[:8]}")
    folder = train.train(what, seed, run, machine, plan, ticket)
    _check_weights(folder)
    return folder


def _check_weights(folder: ArmDirectory) -> None:
    """Raise InputError where an arm is finished and lacks its checkpoints."""
    for file in folder.checkpoints:
        if not file.is_file():
            raise InputError(f"{folder} is finished, but {file.name} is gone: remove it to train again")
