"""The stage that finds a ticket."""

from pathlib import Path
from typing import Any

from robust_tickets import data, recipe, runs
from robust_tickets.ledger import Ledger, clock_for
from robust_tickets.recipe import Recipe
from robust_tickets.runs import RunDirectory
from robust_tickets.stages.place import Machine, fit_of, fresh_net, load, model_spec, write_lines
from robust_tickets.tickets import Ticket, find_ticket

FOLDER = "search"


def search(what: Recipe, seed: int, run: RunDirectory, machine: Machine) -> Path:
    """Find the ticket of one seed: `seed-<n>/search/ticket.safetensors`, metrics and ledger beside it."""
    folder = run.arm(seed, FOLDER)
    file = folder / "ticket.safetensors"
    if (folder / "ledger.json").is_file() and file.is_file():
        machine.progress.say(f"{file} is there already")
        return file
    machine.prepare(what.compute)
    run.check(machine.device)
    net = fresh_net(what, seed, machine)
    ledger = Ledger("search", clock_for(machine.device))
    with ledger.running():
        with ledger.phase("load"):
            dataset = load(what.data, machine)
        how = fit_of(what, what.search, what.search.epochs, seed)
        per_epoch = data.steps_per_epoch(len(dataset.train), how.settings.batch)
        run.begin(machine.device)
        with machine.progress.stage(
            f"search, seed {seed}", what.search.rounds * how.epochs * per_epoch
        ) as meter:
            found = find_ticket(net, dataset, what.search, how, ledger, meter)
        ticket = Ticket(
            model=model_spec(what),
            init=found.init,
            mask=found.mask,
            search=search_part(what),
            data=dataset.fingerprint,
            seed=seed,
            passes=ledger.charged_passes,
            flops=ledger.charged_flops,
        )
        with ledger.phase("checkpoint"):
            ticket.save(file)
            write_lines(folder / "metrics.jsonl", found.history)
    # last of all: it says that the folder is whole
    runs.write_json(folder / "ledger.json", ledger.report())
    return file


def search_part(what: Recipe) -> dict[str, Any]:
    """The part of a recipe that decides which ticket is found."""
    whole = recipe.record(what)
    return {concern: whole[concern] for concern in ("data", "model", "threat", "search", "compute")}
