"""The stage that finds a ticket, in a run directory or in memory."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from robust_tickets.base import signals
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.data.dataset import Dataset
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.pruning_methods import make_pruning_method
from robust_tickets.runs import files
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import costs
from robust_tickets.stages.earlier_rounds import EarlierRounds, earlier_rounds
from robust_tickets.stages.epoch_log import EpochLog
from robust_tickets.stages.experiment import Experiment, make_ticket, search_fields
from robust_tickets.tickets.connectivity import check_paths
from robust_tickets.tickets.methods.base import SearchPlan, SearchResult, SearchTask
from robust_tickets.tickets.search import find_ticket as run_pruning_method
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpointer import Checkpointer, remove_states
from robust_tickets.training.config import Session


def find_ticket(experiment: Experiment, seed: int) -> tuple[Ticket, tuple[str, ...]]:
    """Find the ticket of one seed and write nothing; returns it with the warnings of its search.

    An InputError that is raised after a round was trained has that round's ticket in its attribute `ticket`.
    """
    experiment.prepare()
    problem = experiment.init_problem(seed)
    if problem:
        experiment.log(problem)
    work = PreparedSearch.of(experiment, seed)
    rounds: list[tuple[int, Ticket]] = []

    def keep(result: SearchResult) -> None:
        rounds.append((result.rounds, work.ticket(result)))

    try:
        result = work.run(save=keep, keep=keep)
    except InputError as error:
        if rounds:
            number, ticket = rounds[-1]
            error.args = (f"{error}; the ticket of round {number} is kept in this error's `ticket`",)
            error.ticket = ticket  # type: ignore[attr-defined]
        raise
    return work.ticket(result), result.warnings


def _check_own(folder: ArmDirectory, experiment: Experiment, seed: int) -> None:
    """Raise InputError where the ticket in the folder of a finished search is another one's."""
    ticket, recipe = Ticket.load(folder.ticket), experiment.recipe
    method = make_pruning_method(recipe.search)
    fields = search_fields(recipe, method.rounds)
    if (ticket.model, ticket.search, ticket.seed) != (experiment.model_spec, fields, seed):
        raise InputError(
            f"{folder.ticket} is that of another search, on {ticket.model.name}: put this search's back, or "
            f"remove {folder.ledger} and give the same command again, which searches from the last round on "
            "disk"
        )


def check_search(experiment: Experiment, seed: int) -> None:
    """Raise InputError, before anything is written, for networks that the search finds no ticket of."""
    experiment.prepare()
    method = make_pruning_method(experiment.recipe.search)
    net = experiment.fresh_net(seed)
    method.check_networks(net, partial(_build, experiment, seed), experiment.spec.shape)


def _build(experiment: Experiment, seed: int, name: str) -> nn.Module:
    """Another network of the experiment's width, at its init."""
    recipe = replace(experiment.recipe, model=replace(experiment.recipe.model, name=name))
    return replace(experiment, recipe=recipe, net=None).fresh_net(seed)


def search(experiment: Experiment, seed: int, run: RunDirectory) -> Path:
    """Find the ticket of one seed: `seed-<n>/search/ticket.safetensors`, metrics and ledger beside it.

    Each round but the last leaves the same three files in `round-<k>/`. A search resumes after the last round
    on disk, in this run directory or in one beside it that searches alike but for the number of rounds.

    Raises InputError where it is finished and its ticket is gone.
    """
    folder, machine = run.search(seed), experiment.machine
    inputs = experiment.inputs(seed)
    run.check_inputs(inputs)
    if folder.is_finished:
        if not folder.ticket.is_file():
            raise InputError(
                f"{folder} is finished, but {folder.ticket.name} is gone: put it back, or remove "
                f"{folder.ledger} and give the same command again, which searches from the last round on disk"
            )
        _check_own(folder, experiment, seed)
        run.write_recipe()
        remove_states(folder.states)
        experiment.machine.progress.done_before(f"already done: {folder.ticket}")
        return folder.ticket
    experiment.prepare()
    run.check_machine(machine.device, any_machine=machine.any_machine, devices=machine.world_size)
    work = PreparedSearch.of(experiment, seed)
    ledger = work.ledger
    with ledger.measure(), ledger.phase("load"):
        inputs["images"] = work.dataset.fingerprint
        run.check_inputs(inputs)
        run.begin(machine.device, inputs, any_machine=machine.any_machine, devices=machine.world_size)
        earlier = earlier_rounds(experiment, seed, run, inputs)

    def save(result: SearchResult) -> None:
        """Write the rounds so far: into the search's folder, or that of the round."""
        write(result, folder if result.rounds == work.plan.rounds else folder.round(result.rounds))

    def keep(result: SearchResult) -> None:
        """Write a round that is then refused into its own folder, so that its training is not lost."""
        target = folder.round(result.rounds)
        write(result, target)
        experiment.log(f"search, seed {seed}: round {result.rounds} is kept in {target}")

    def write(result: SearchResult, target: ArmDirectory) -> None:
        with ledger.phase("checkpoint"):
            work.ticket(result).save(target.ticket)
            files.write_jsonl(target.metrics, result.history)
        ledger.settle()
        # last of all: it says that the folder is whole
        files.write_json(target.ledger, {**ledger.report(), "warnings": list(result.warnings)})

    identity = {"recipe": recipes.to_table(experiment.recipe), "inputs": inputs, "seed": seed}
    checkpointer = experiment.checkpointer(folder.states, identity)
    with signals.deferred(), EpochLog(folder, machine.tensorboard) as log:
        work.run(checkpointer, earlier, save, keep, log)
        remove_states(folder.states)
    return folder.ticket


@dataclass(frozen=True)
class PreparedSearch:
    """The search of one seed, ready to run.

    net: the network at its init.
    plan: rounds and steps.
    ledger: takes the cost, that of loading the images included.
    """

    experiment: Experiment
    seed: int
    net: nn.Module
    dataset: Dataset
    plan: SearchPlan
    ledger: Ledger

    @classmethod
    def of(cls, experiment: Experiment, seed: int) -> "PreparedSearch":
        """Build the network and load the images. Raises InputError for a recipe that they do not fit."""
        machine = experiment.machine
        # of several jobs, the process that starts them warns
        net = experiment.fresh_net(seed, warn=machine.jobs == 1)
        experiment.check_batch(net, experiment.recipe.search, "search.batch")
        machine.process_group()  # whose start is charged to nobody
        ledger = Ledger("search", clock_for(machine.device), jobs=machine.jobs)
        with ledger.measure(), ledger.phase("load"):
            dataset = experiment.load()
            plan = costs.search_plan(experiment.recipe, dataset.spec)
        return cls(experiment, seed, net, dataset, plan, ledger)

    def ticket(self, result: SearchResult) -> Ticket:
        """The ticket of the rounds so far, at the cost in the ledger so far."""
        return make_ticket(self.experiment, result, self.dataset, self.seed, self.ledger)

    def run(
        self,
        checkpointer: Checkpointer | None = None,
        earlier: EarlierRounds | None = None,
        save: Callable[[SearchResult], None] = lambda result: None,
        keep: Callable[[SearchResult], None] = lambda result: None,
        on_epoch: Callable[[list[dict[str, Any]]], None] = lambda history: None,
    ) -> SearchResult:
        """Search, after earlier rounds and from a saved state within a round where there are any.

        save: called with the result so far after each round.
        keep: called instead with a round that is then refused.
        on_epoch: takes the records of all rounds so far after every epoch.
        """
        before: list[dict[str, Any]] = [] if earlier is None else earlier.result.history

        def save_round(result: SearchResult) -> None:
            nonlocal before
            before = result.history
            machine.end_measurement(ledger)
            save(result)

        def with_rounds_before(history: list[dict[str, Any]]) -> None:
            number = before[-1]["round"] + 1 if before else 1
            on_epoch([*before, *({"round": number, **record} for record in history)])

        checkpointer = checkpointer or Checkpointer()
        rounds = 0 if earlier is None else earlier.result.rounds
        saved = checkpointer.for_round(rounds + 1).newest()
        log, ledger, title = self.experiment.log, self.ledger, f"search, seed {self.seed}"
        machine = self.experiment.machine
        if earlier is not None:
            done = rounds == self.plan.rounds
            log(
                f"{title}: {'done already' if done else f'resuming after round {rounds}'} in {earlier.folder}"
            )
        with ledger.measure():
            # the account of a state holds that of the rounds before it
            if saved is not None:
                log(f"{title}: resuming after step {saved['step']} of round {rounds + 1}")
                ledger.add_report(saved["ledger"])
            elif earlier is not None:
                ledger.add_report(earlier.ledger)
            if earlier is not None and rounds == self.plan.rounds:
                check_paths(self.net, earlier.result.mask, self.dataset.spec.shape)
                save(earlier.result)
                return earlier.result
            search = self.experiment.recipe.search
            ledger.calibrate(machine.device)
            with machine.progress.stage(title, self.plan.steps) as meter:
                steps_before = sum(self.plan.steps_of_rounds[:rounds])
                meter.advance(steps_before + (saved["step"] if saved is not None else 0), 0)
                config = self.experiment.config(search, self.plan.round_steps, self.seed)
                session = Session(
                    ledger,
                    meter,
                    checkpointer,
                    saved,
                    group=machine.process_group(),
                    on_epoch=with_rounds_before,
                )
                rounds_before = None if earlier is None else earlier.result
                build = partial(_build, self.experiment, self.seed)
                task = SearchTask(
                    self.net, self.dataset, config, session, rounds_before, save_round, keep, build
                )
                return run_pruning_method(search, task)
