"""The jobs of a comparison: a search or an arm of one seed. Jobs share nothing but files."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.recipe.arm_training import training_of
from robust_tickets.recipe.arms import ARMS, needs_ticket
from robust_tickets.runs import files
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import plan as planning
from robust_tickets.stages import search as search_stage
from robust_tickets.stages.arm_rates import ArmRates
from robust_tickets.stages.evaluate import evaluate
from robust_tickets.stages.experiment import (
    Experiment,
    narrow_experiment,
    other_net,
    random_ticket,
    ticket_cost,
    unpruned_ticket,
)
from robust_tickets.stages.step_lengths import TicketCost
from robust_tickets.stages.timed_plan import plan_arm, waits_for_ticket_arm, with_ticket_arm
from robust_tickets.stages.train import train
from robust_tickets.tickets.elastic import change_depth
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.tickets.transforms import TRANSFORMS
from robust_tickets.training.checkpoint import Checkpoint

T = TypeVar("T")


@dataclass(frozen=True)
class Job(ABC):
    """One piece of a comparison, which can be pickled and done on another machine."""

    experiment: Experiment
    seed: int
    run: RunDirectory

    def __call__(self, machine: Machine) -> Path:
        """Do what is not done already, on that machine; returns the file or folder that is made."""
        return replace(self, experiment=replace(self.experiment, machine=machine)).do()

    @abstractmethod
    def do(self) -> Path:
        """Do what is not done already; returns the file or folder that is made."""

    def needed_files(self) -> list[Path]:
        """The files, and folders of files, that it reads or goes on from."""
        return [path for path in self.run.path.glob("*") if path.is_file()]


class SearchJob(Job):
    """The search of one seed."""

    def do(self) -> Path:
        """Search, unless that is done already; returns the ticket's file."""
        return search_stage.search(self.experiment, self.seed, self.run)

    def needed_files(self) -> list[Path]:
        """With the rounds so far."""
        return [*super().needed_files(), self.run.search(self.seed).path]


@dataclass(frozen=True)
class ArmJob(Job):
    """One arm of one seed: its training, and the evaluation of its checkpoints."""

    arm: str

    def do(self) -> Path:
        """Train and evaluate; returns the arm's folder."""
        return _evaluate_all(*self.train())

    def needed_files(self) -> list[Path]:
        """With what is there of the arm, its first stage, and the ticket and arm that it waits for."""
        stage = ARMS[self.arm].before
        folders = [self.arm, *([stage.folder] if stage else []), *(["search"] if self.needs_ticket else [])]
        folders += ["ticket"] if self.waits_for_ticket_arm else []
        return [*super().needed_files(), *(self.run.arm(self.seed, name).path for name in folders)]

    def train(self) -> tuple[ArmDirectory, Experiment]:
        """Train; returns the arm's folder, and the experiment with the network that was trained."""
        experiment, arm = self.experiment, ARMS[self.arm]
        ticket = self._ticket() if self.needs_ticket else None
        cost = None
        if ticket is not None and arm.schedule.follows_ticket:
            cost = ticket_cost(experiment, ticket)
            if self.waits_for_ticket_arm:
                cost = self._with_ticket_arm(cost)
        start: Ticket | None = None
        if ticket is not None and arm.network == "ticket":
            start = _transformed(ticket, self.arm, experiment, self.seed)
        elif arm.network == "random":
            start = random_ticket(experiment, self.seed)
        elif ticket is not None and arm.network == "narrow":
            experiment = narrow_experiment(experiment, ticket, arm.match)
        elif arm.has_first_stage and not self._has_both_stages:
            start = self._first_stage(cost)
        rates = ArmRates(experiment, training_of(experiment.recipe, self.arm), start)
        plan = plan_arm(self.run, self.seed, self.arm, rates, cost)
        return train(experiment, self.seed, self.run, plan, start), experiment

    @property
    def needs_ticket(self) -> bool:
        """Whether the search of its seed has to be done first."""
        return needs_ticket(self.arm, self.experiment.recipe)

    @property
    def waits_for_ticket_arm(self) -> bool:
        """Whether the arm `ticket` of its seed has to be trained first."""
        return waits_for_ticket_arm(self.experiment.recipe, self.arm)

    def _with_ticket_arm(self, cost: TicketCost) -> TicketCost:
        """The cost of the ticket with that of its own arm, which is trained before, as by its own job."""
        if not self.run.arm(self.seed, "ticket").is_finished:
            replace(self, arm="ticket").do()
        return with_ticket_arm(cost, self.run, self.seed, self.arm)

    def _ticket(self) -> Ticket:
        folder = self.run.search(self.seed)
        is_done = folder.is_finished and folder.ticket.is_file()  # as always after its own job
        file = folder.ticket if is_done else search_stage.search(self.experiment, self.seed, self.run)
        return _load(Ticket.load, file)

    @property
    def _has_both_stages(self) -> bool:
        """Whether the arm is trained to its end, so that the weights of its first stage are not needed."""
        stage = ARMS[self.arm].before
        names = (self.arm, *([stage.folder] if stage else []))
        return all(self.run.arm(self.seed, name).is_finished for name in names)

    def _first_stage(self, cost: TicketCost | None) -> Ticket:
        """Train the first stage; returns its network as a ticket that prunes nothing."""
        experiment = self.experiment
        plan = planning.first_stage(experiment.recipe, self.arm, experiment.spec, cost)
        folder = train(experiment, self.seed, self.run, plan, None)
        ledger = files.read_object(folder.ledger, f"remove {folder} and run compare again")
        last = _load(Checkpoint.load, folder.last)
        return unpruned_ticket(experiment, last, self.seed, ledger)


@dataclass(frozen=True)
class TicketFileJob(Job):
    """An arm of one seed that starts from the ticket that another recipe's search found.

    Where that recipe's network has another depth, the ticket's blocks are copied, or left out.
    """

    ticket: Path
    arm: str = "ticket-from"

    def needed_files(self) -> list[Path]:
        """With the ticket, and what is there of the seed's arms that start from one."""
        folder = self.run.search(self.seed).path.parent
        return [*super().needed_files(), self.ticket, *folder.glob(f"{self.arm}*"), *folder.glob("search")]

    def do(self) -> Path:
        """Train and evaluate; returns the arm's folder."""
        experiment = self.experiment
        ticket = change_depth(Ticket.load(self.ticket), experiment.recipe.model.name)
        ticket = _transformed(ticket, self.arm, experiment, self.seed)
        folder = _train_ticket(experiment, self.seed, self.run, ticket, self.arm)
        return _evaluate_all(folder, experiment)


def train_from_file(experiment: Experiment, seed: int, run: RunDirectory, file: Path | None) -> ArmDirectory:
    """Train dense (file None), or from the ticket in a file, in a folder named by the ticket's hash.

    The ticket of this run's own search has the arm `ticket`. Raises InputError for one that does not fit.
    """
    return _train_ticket(experiment, seed, run, None if file is None else Ticket.load(file), "ticket-from")


def _train_ticket(
    experiment: Experiment, seed: int, run: RunDirectory, ticket: Ticket | None, arm: str
) -> ArmDirectory:
    """Train dense, or from a ticket as that arm, but as `ticket` where it is that of the own search."""
    own = run.search(seed).ticket
    if ticket is None:
        arm = "dense"
    elif (
        own.is_file()
        and Ticket.load(own).hash == ticket.hash
        and ARMS[arm].schedule == ARMS["ticket"].schedule
    ):
        arm = "ticket"
    name = arm
    if ticket is not None and ARMS[arm].other_search:
        name = f"{'ticket' if arm == 'ticket-from' else arm}-{ticket.hash[:8]}"
    rates = ArmRates(experiment, training_of(experiment.recipe, arm), ticket)
    plan = replace(plan_arm(run, seed, arm, rates, folder=run.arm(seed, name)), arm=name)
    return train(experiment, seed, run, plan, ticket)


def _transformed(ticket: Ticket, arm: str, experiment: Experiment, seed: int) -> Ticket:
    """The ticket that an arm starts from."""
    transform = ARMS[arm].transform
    if not transform:
        return ticket
    return TRANSFORMS[transform](ticket, other_net(experiment, seed), seed)


def _evaluate_all(folder: ArmDirectory, experiment: Experiment) -> Path:
    """Evaluate all checkpoints of an arm; returns its folder."""
    for checkpoint in folder.checkpoints:
        evaluate(checkpoint, experiment)
    return folder.path


def _load(load: Callable[[Path], T], file: Path) -> T:
    """Load the output of an earlier stage. Raises InputError that says how to make it again."""
    try:
        return load(file)
    except InputError as error:
        raise InputError(f"{error}; here: remove {file.parent} and give the same command again") from None
