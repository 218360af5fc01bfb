"""The stage that finds a ticket."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from robust_tickets.base import signals
from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.base.machine import Machine
from robust_tickets.recipe import recipe as recipes
from robust_tickets.runs import files
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import plan as planning
from robust_tickets.stages.checkpointer import Checkpointer, remove_states
from robust_tickets.stages.earlier_rounds import earlier_rounds
from robust_tickets.stages.experiment import Experiment, make_ticket
from robust_tickets.stages.state_files import TRAINING
from robust_tickets.stages.unsupported import warn_unsupported
from robust_tickets.tickets.search import SearchResult, find_ticket
from robust_tickets.training.state import TrainingState


def search(what: Experiment, seed: int, run: RunDirectory, machine: Machine) -> Path:
    """Find the ticket of one seed: `seed-<n>/search/ticket.safetensors`, metrics and ledger beside it.

    Each round but the last leaves the same three files in `round-<k>/`. A search goes on from the last round
    that is there, in this run directory or in one beside it that searches alike but for the number of rounds.
    """
    folder = run.search(seed)
    inputs = what.inputs(seed, machine)
    run.check_inputs(inputs)
    if folder.is_finished and folder.ticket.is_file():
        remove_states(folder.states)
        machine.progress.log(f"{folder.ticket} is there already")
        return folder.ticket
    machine.prepare(what.recipe.compute)
    run.check_machine(machine.device)
    net = warn_unsupported(what.fresh_net(seed, machine), machine.progress.log)
    ledger = Ledger("search", clock_for(machine.device), jobs=machine.jobs)
    with ledger.measure(), ledger.phase("load"):
        dataset = what.load(machine)
        inputs["images"] = dataset.fingerprint
        run.check_inputs(inputs)
        plan = planning.search_plan(what.recipe, dataset.spec)
        run.begin(machine.device, inputs)
        earlier = earlier_rounds(what, seed, run, machine, inputs)

    of = {"recipe": recipes.to_table(what.recipe), "inputs": inputs, "seed": seed}

    def saves_of(number: int) -> Checkpointer[TrainingState]:
        """Where the states of a round's training are kept."""
        of_round, prefix = {**of, "round": number}, f"round-{number:03}-"
        timed = partial(ledger.phase, "checkpoint")
        return Checkpointer(
            folder.states, TRAINING, of_round, machine.every, machine.progress.log, prefix, timed
        )

    def save(found: SearchResult) -> None:
        """Write the rounds so far: into the search's folder, or that of the round."""
        target = folder if found.rounds == plan.rounds else folder.round(found.rounds)
        with ledger.phase("checkpoint"):
            make_ticket(what, found, dataset, seed, ledger).save(target.ticket)
            files.write_jsonl(target.metrics, found.history)
        ledger.settle()
        # last of all: it says that the folder is whole
        files.write_json(target.ledger, {**ledger.report(), "warnings": list(found.warnings)})

    done = 0 if earlier is None else earlier.found.rounds
    state = saves_of(done + 1).newest()
    if earlier is not None:
        machine.progress.log(f"going on from round {done} in {earlier.folder}")
    with signals.deferred(), ledger.measure():
        # the state's account holds that of the rounds before it
        if state is not None:
            machine.progress.log(f"going on after step {state.step} of round {done + 1}")
            ledger.add_report(state.ledger)
        elif earlier is not None:
            ledger.add_report(earlier.ledger)
        if earlier is not None and done == plan.rounds:
            save(earlier.found)
        else:
            with machine.progress.stage(f"search, seed {seed}", plan.steps) as meter:
                begun = replace(plan, rounds=done).steps if done else 0
                meter.advance(begun + (state.step if state is not None else 0), 0)
                find_ticket(
                    net,
                    dataset,
                    what.recipe.search,
                    what.fit(what.recipe.search, plan.round_steps, seed),
                    ledger,
                    meter,
                    rewind=plan.rewind,
                    earlier=None if earlier is None else earlier.found,
                    each_round=save,
                    state=state,
                    offer=lambda number: saves_of(number).offer,
                )
        remove_states(folder.states)
    return folder.ticket
