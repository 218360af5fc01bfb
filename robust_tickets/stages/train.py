"""The stage that trains one arm."""

from pathlib import Path
from typing import Any

from torch import nn

from robust_tickets import data, recipe, runs
from robust_tickets.arms import ArmPlan
from robust_tickets.data import Dataset
from robust_tickets.errors import InputError
from robust_tickets.ledger import Ledger, clock_for
from robust_tickets.models import norms_after
from robust_tickets.pruning import Masking
from robust_tickets.recipe import Recipe
from robust_tickets.runs import RunDirectory
from robust_tickets.stages.place import Machine, fit_of, fresh_net, load, model_spec, write_lines
from robust_tickets.tickets import Ticket
from robust_tickets.training import Checkpoint, fit


def train(
    what: Recipe, seed: int, run: RunDirectory, machine: Machine, plan: ArmPlan, ticket: Ticket | None
) -> Path:
    """Train one arm of one seed, dense or from a ticket: a folder with `best.safetensors` and
    `last.safetensors`.

    Raises InputError for a ticket that does not fit the recipe's net.
    """
    folder = run.arm(seed, plan.arm)
    if (folder / "ledger.json").is_file():
        machine.progress.say(f"{folder} is there already")
        return folder
    machine.prepare(what.compute)
    run.check(machine.device)
    net = fresh_net(what, seed, machine)
    if ticket is not None:
        ticket.plant(net)
    ledger = Ledger("train", clock_for(machine.device))
    with ledger.running():
        with ledger.phase("load"):
            dataset = load(what.data, machine)
        if ticket is not None and plan.arm == "ticket" and ticket.data != dataset.fingerprint:
            raise InputError(
                f"{run.path} has a ticket that was found on other images than these ({ticket.data}, not "
                f"{dataset.fingerprint}): give the same --data.root, or choose another folder by --runs"
            )
        how = fit_of(what, plan.training, plan.epochs, seed)
        per_epoch = data.steps_per_epoch(len(dataset.train), how.settings.batch)
        run.begin(machine.device)
        with machine.progress.stage(f"{plan.arm}, seed {seed}", how.epochs * per_epoch) as meter:
            fitted = fit(net, ticket.mask if ticket else None, dataset, how, ledger, meter)
        with ledger.phase("checkpoint"):
            for name, state, epoch in (
                ("best", fitted.best, fitted.best_epoch),
                ("last", fitted.last, how.epochs),
            ):
                scores = {key: fitted.history[epoch - 1][key] for key in ("val_clean", "val_robust")}
                checkpoint = Checkpoint(
                    state,
                    model_spec(what),
                    recipe.record(what),
                    dataset.fingerprint,
                    plan.arm,
                    seed,
                    epoch,
                    **scores,
                )
                checkpoint.save(folder / f"{name}.safetensors")
            write_lines(folder / "metrics.jsonl", fitted.history)
            runs.write_json(folder / "arm.json", describe(net, plan, fitted.best_epoch, ticket, dataset))
    # last of all: it says that the folder is whole
    runs.write_json(folder / "ledger.json", ledger.report())
    return folder


def describe(
    net: nn.Module, plan: ArmPlan, best_epoch: int, ticket: Ticket | None, dataset: Dataset
) -> dict[str, Any]:
    """What the timing table says of an arm besides its cost and its accuracy."""
    parameters = sum(p.numel() for p in net.parameters())
    pruned = Masking(net, ticket.mask, norms_after(net)).pruned if ticket else 0
    return {
        "arm": plan.arm,
        "data": dataset.title,
        "fingerprint": dataset.fingerprint,
        "epochs": plan.epochs,
        "best_epoch": best_epoch,
        "lr": plan.training.lr,
        "density": ticket.mask.density if ticket else 1.0,
        "params": parameters - pruned,
        "ticket": ticket.hash if ticket else None,
    }
