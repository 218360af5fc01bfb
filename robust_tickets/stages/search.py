"""The stage that finds a ticket."""

from dataclasses import replace
from pathlib import Path

from robust_tickets.base import signals
from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.base.machine import Machine
from robust_tickets.recipe import recipe as recipes
from robust_tickets.runs import files
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import plan as planning
from robust_tickets.stages.earlier_rounds import earlier_rounds
from robust_tickets.stages.experiment import Experiment, make_ticket
from robust_tickets.stages.unsupported import warn_unsupported
from robust_tickets.tickets.methods.base import SearchResult, SearchTask
from robust_tickets.tickets.search import find_ticket
from robust_tickets.training.checkpointer import Checkpointer, remove_states
from robust_tickets.training.config import Session


def search(experiment: Experiment, seed: int, run: RunDirectory, machine: Machine) -> Path:
    """Find the ticket of one seed: `seed-<n>/search/ticket.safetensors`, metrics and ledger beside it.

    Each round but the last leaves the same three files in `round-<k>/`. A search resumes after the last round
    on disk, in this run directory or in one beside it that searches alike but for the number of rounds.
    """
    folder, progress = run.search(seed), machine.progress
    inputs = experiment.inputs(seed, machine)
    run.check_inputs(inputs)
    if folder.is_finished and folder.ticket.is_file():
        remove_states(folder.states)
        progress.log(f"already done: {folder.ticket}")
        return folder.ticket
    machine.prepare(experiment.recipe.compute.threads)
    run.check_machine(machine.device)
    net = warn_unsupported(experiment.fresh_net(seed, machine), progress.log)
    ledger = Ledger("search", clock_for(machine.device), jobs=machine.jobs)
    with ledger.measure(), ledger.phase("load"):
        dataset = experiment.load(machine)
        inputs["images"] = dataset.fingerprint
        run.check_inputs(inputs)
        plan = planning.search_plan(experiment.recipe, dataset.spec)
        run.begin(machine.device, inputs)
        earlier = earlier_rounds(experiment, seed, run, machine, inputs)

    def save(result: SearchResult) -> None:
        """Write the rounds so far: into the search's folder, or that of the round."""
        target = folder if result.rounds == plan.rounds else folder.round(result.rounds)
        with ledger.phase("checkpoint"):
            make_ticket(experiment, result, dataset, seed, ledger).save(target.ticket)
            files.write_jsonl(target.metrics, result.history)
        ledger.settle()
        # last of all: it says that the folder is whole
        files.write_json(target.ledger, {**ledger.report(), "warnings": list(result.warnings)})

    identity = {"recipe": recipes.to_table(experiment.recipe), "inputs": inputs, "seed": seed}
    limits = machine.checkpoint_minutes, machine.checkpoint_steps
    checkpointer = Checkpointer(folder.states, identity, *limits, progress)
    rounds = 0 if earlier is None else earlier.found.rounds
    saved = checkpointer.for_round(rounds + 1).newest()
    if earlier is not None:
        progress.log(f"resuming after round {rounds} in {earlier.folder}")
    with signals.deferred(), ledger.measure():
        # the state's account holds that of the rounds before it
        if saved is not None:
            progress.log(f"resuming after step {saved['step']} of round {rounds + 1}")
            ledger.add_report(saved["ledger"])
        elif earlier is not None:
            ledger.add_report(earlier.ledger)
        if earlier is not None and rounds == plan.rounds:
            save(earlier.found)
        else:
            with progress.stage(f"search, seed {seed}", plan.steps) as meter:
                before = replace(plan, rounds=rounds).steps if rounds else 0
                meter.advance(before + (saved["step"] if saved is not None else 0), 0)
                config = experiment.fit(experiment.recipe.search, plan.round_steps, seed)
                session = Session(ledger, meter, checkpointer, saved)
                rounds_before = None if earlier is None else earlier.found
                task = SearchTask(net, dataset, config, session, rounds_before, save)
                find_ticket(experiment.recipe.search, task)
        remove_states(folder.states)
    return folder.ticket
