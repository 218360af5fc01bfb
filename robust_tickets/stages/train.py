"""The stage that trains one arm."""

from dataclasses import replace
from functools import partial
from typing import Any

from robust_tickets.base import signals
from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.base.machine import Machine
from robust_tickets.data.dataset import Dataset
from robust_tickets.models.flops import forward_flops
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import masking_for
from robust_tickets.recipe import recipe as recipes
from robust_tickets.runs import files
from robust_tickets.runs.directory import ArmDirectory, RunDirectory
from robust_tickets.stages.checkpointer import Checkpointer, remove_states
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.plan import ArmPlan
from robust_tickets.stages.reuse import arm_key, reuse_arm
from robust_tickets.stages.state_files import TRAINING
from robust_tickets.stages.unsupported import warn_unsupported
from robust_tickets.tickets.narrow_net import masked_flops
from robust_tickets.tickets.starting_net import StartingNet, starting_net
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.loop import TrainingResult, fit
from robust_tickets.training.state import TrainingState


def train(
    what: Experiment, seed: int, run: RunDirectory, machine: Machine, plan: ArmPlan, ticket: Ticket | None
) -> ArmDirectory:
    """Train one arm of one seed, dense or from a ticket: a folder with `best.safetensors` and
    `last.safetensors`. The same arm of a run directory beside is taken over instead.

    Raises InputError for a ticket that does not fit the recipe's net.
    """
    folder = run.arm(seed, plan.arm)
    inputs = what.inputs(seed, machine)
    run.check_inputs(inputs)
    if folder.is_finished:
        remove_states(folder.states)
        machine.progress.log(f"{folder} is there already")
        return folder
    machine.prepare(what.recipe.compute)
    run.check_machine(machine.device)
    begins_from = ticket.hash if ticket else None
    key = arm_key(what.recipe, plan, begins_from, seed, inputs)
    net = warn_unsupported(what.fresh_net(seed, machine), machine.progress.log)
    shape, say = what.spec(machine).shape, machine.progress.log
    made = Ledger("train", clock_for(machine.device))
    with made.measure(), made.phase("prune"):
        begins = starting_net(net, ticket, shape, what.recipe.compute, say)
    ledger = Ledger("train", clock_for(machine.device), jobs=machine.jobs)
    with ledger.measure(), ledger.phase("load"):
        dataset = what.load(machine)
        inputs["images"] = dataset.fingerprint
        run.check_inputs(inputs)
        run.begin(machine.device, inputs)
    # only now that the images are known, which have to be the same
    if not folder.states.is_dir() and reuse_arm(run, seed, plan.arm, key, machine, inputs):
        return folder
    of = {"recipe": recipes.to_table(what.recipe), "inputs": inputs, "seed": seed, "arm": plan.arm}
    of["ticket"] = begins_from
    timed = partial(ledger.phase, "checkpoint")
    saves = Checkpointer(folder.states, TRAINING, of, machine.every, machine.progress.log, timed=timed)
    with signals.deferred():
        with ledger.measure():
            fitted = _fitted(what, seed, machine, plan, begins, dataset, ledger, made, saves)
            with ledger.phase("checkpoint"):
                for file, state, epoch in (
                    (folder.best, fitted.best, fitted.best_epoch),
                    (folder.last, fitted.last, fitted.last_epoch),
                ):
                    record = fitted.record(epoch)
                    checkpoint = Checkpoint(
                        state,
                        what.model_spec(machine),
                        recipes.to_table(what.recipe),
                        dataset.fingerprint,
                        plan.arm,
                        seed,
                        epoch,
                        val_clean=record["val_clean"],
                        val_robust=record["val_robust"],
                        function=inputs.get("net", ""),
                        removed=begins.removed,
                    )
                    checkpoint.save(file)
                files.write_jsonl(folder.metrics, fitted.history)
                files.write_jsonl(folder.early_metrics, fitted.points)
        about = describe(begins, plan, fitted.best_epoch, ticket, dataset)
        width = what.recipe.model.width
        files.write_json(folder.record, {**about, "width": width, "key": key})
        # last of all: it says that the folder is whole
        files.write_json(folder.ledger, {**ledger.report(), "warnings": list(fitted.warnings)})
        remove_states(folder.states)
    return folder


def _fitted(
    what: Experiment,
    seed: int,
    machine: Machine,
    plan: ArmPlan,
    begins: StartingNet,
    dataset: Dataset,
    ledger: Ledger,
    made: Ledger,
    saves: Checkpointer[TrainingState],
) -> TrainingResult:
    """Train, from the newest state that was kept; its account has what `made` says, which is taken once."""
    how = what.fit(plan.training, plan.steps, seed, plan.points)
    if plan.images:
        dataset = replace(dataset, train=dataset.train.first(plan.images))
    state = saves.newest()
    ledger.add_report(made.report() if state is None else state.ledger)
    with machine.progress.stage(f"{plan.arm}, seed {seed}", how.steps) as meter:
        if state is not None:
            machine.progress.log(f"going on after step {state.step} of {how.steps}")
            meter.advance(state.step, 0)
        return fit(begins.net, begins.mask, dataset, how, ledger, meter, state=state, offer=saves.offer)


def describe(
    begins: StartingNet, plan: ArmPlan, best_epoch: int, ticket: Ticket | None, dataset: Dataset
) -> dict[str, Any]:
    """What the timing table says of an arm besides its cost and its accuracy."""
    net = begins.net
    parameters = sum(p.numel() for p in net.parameters())
    mask = begins.mask or Mask.full(net)
    pruned = 0 if begins.mask is None else masking_for(net, begins.mask, dataset.spec.shape).pruned
    return {
        "arm": plan.arm,
        "data": dataset.title,
        "fingerprint": dataset.fingerprint,
        "test_images": len(dataset.test),
        "epochs": plan.epochs,
        "steps_per_epoch": plan.per_epoch,
        "best_epoch": best_epoch,
        "lr": plan.training.lr,
        "density": ticket.mask.density if ticket else 1.0,
        "params": parameters - pruned,
        "weights": mask.kept,
        "channels_removed": begins.removed,
        "forward_flops": forward_flops(net, dataset.spec.shape),
        "kept_flops": masked_flops(net, mask, dataset.spec.shape),
        "ticket": ticket.hash if ticket else None,
    }
