"""The stage that trains one arm."""

from dataclasses import replace
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
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.plan import ArmPlan
from robust_tickets.stages.reuse import arm_key, reuse_arm
from robust_tickets.stages.unsupported import warn_unsupported
from robust_tickets.tickets.narrow_net import masked_flops
from robust_tickets.tickets.starting_net import StartingNet, starting_net
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.checkpointer import Checkpointer, remove_states
from robust_tickets.training.config import Session
from robust_tickets.training.loop import TrainingResult, fit


def train(
    experiment: Experiment,
    seed: int,
    run: RunDirectory,
    machine: Machine,
    plan: ArmPlan,
    ticket: Ticket | None,
) -> ArmDirectory:
    """Train one arm of one seed, dense or from a ticket: a folder with `best.safetensors` and
    `last.safetensors`. The same arm of another run directory beside this one is copied instead.

    Raises InputError for a ticket that does not fit the recipe's network.
    """
    folder, progress, recipe = run.arm(seed, plan.arm), machine.progress, experiment.recipe
    inputs = experiment.inputs(seed, machine)
    run.check_inputs(inputs)
    if folder.is_finished:
        remove_states(folder.states)
        progress.log(f"already done: {folder}")
        return folder
    machine.prepare(recipe.compute.threads)
    run.check_machine(machine.device)
    ticket_hash = ticket.hash if ticket else None
    key = arm_key(recipe, plan, ticket_hash, seed, inputs)
    net = warn_unsupported(experiment.fresh_net(seed, machine), progress.log)
    shape = experiment.spec(machine).shape
    starting = Ledger("train", clock_for(machine.device))
    with starting.measure(), starting.phase("prune"):
        start = starting_net(net, ticket, shape, recipe.compute, progress.log)
    ledger = Ledger("train", clock_for(machine.device), jobs=machine.jobs)
    with ledger.measure(), ledger.phase("load"):
        dataset = experiment.load(machine)
        inputs["images"] = dataset.fingerprint
        run.check_inputs(inputs)
        run.begin(machine.device, inputs)
    # only now that the images are known, which have to be the same
    if not folder.states.is_dir() and reuse_arm(run, seed, plan.arm, key, machine, inputs):
        return folder
    identity = {"recipe": recipes.to_table(recipe), "inputs": inputs, "seed": seed, "arm": plan.arm}
    identity["ticket"] = ticket_hash
    limits = machine.checkpoint_minutes, machine.checkpoint_steps
    checkpointer = Checkpointer(folder.states, identity, *limits, progress)
    saved = checkpointer.newest()
    with signals.deferred():
        with ledger.measure():
            # the account of a saved state has what the start cost
            ledger.add_report(starting.report() if saved is None else saved["ledger"])
            config = experiment.fit(plan.training, plan.steps, seed, plan.points)
            images = replace(dataset, train=dataset.train.first(plan.images)) if plan.images else dataset
            with progress.stage(f"{plan.arm}, seed {seed}", plan.steps) as meter:
                if saved is not None:
                    progress.log(f"resuming after step {saved['step']} of {plan.steps}")
                    meter.advance(saved["step"], 0)
                session = Session(ledger, meter, checkpointer, saved)
                result = fit(start.net, start.mask, images, config, session)
            with ledger.phase("checkpoint"):
                checkpoints = _checkpoints(experiment, seed, machine, plan, result, inputs)
                for file, checkpoint in zip(folder.checkpoints, checkpoints, strict=True):
                    replace(checkpoint, removed=start.removed_channels).save(file)
                files.write_jsonl(folder.metrics, result.history)
                files.write_jsonl(folder.early_metrics, result.points)
        about = describe(start, plan, result.best_epoch, ticket, dataset)
        files.write_json(folder.record, {**about, "width": recipe.model.width, "key": key})
        # last of all: it says that the folder is whole
        files.write_json(folder.ledger, {**ledger.report(), "warnings": list(result.warnings)})
        remove_states(folder.states)
    return folder


def _checkpoints(
    experiment: Experiment,
    seed: int,
    machine: Machine,
    plan: ArmPlan,
    result: TrainingResult,
    inputs: dict[str, str],
) -> list[Checkpoint]:
    """The checkpoints of the best epoch and of the last one."""
    weights = [(result.best, result.best_epoch), (result.last, result.last_epoch)]
    return [
        Checkpoint(
            state,
            experiment.model_spec(machine),
            recipes.to_table(experiment.recipe),
            inputs["images"],
            plan.arm,
            seed,
            epoch,
            val_clean=result.record(epoch)["val_clean"],
            val_robust=result.record(epoch)["val_robust"],
            function=inputs.get("net", ""),
        )
        for state, epoch in weights
    ]


def describe(
    start: StartingNet, plan: ArmPlan, best_epoch: int, ticket: Ticket | None, dataset: Dataset
) -> dict[str, Any]:
    """The columns of the timing table that describe an arm, besides its cost and accuracy."""
    net = start.net
    parameters = sum(p.numel() for p in net.parameters())
    mask = start.mask or Mask.full(net)
    pruned = 0 if start.mask is None else masking_for(net, start.mask, dataset.spec.shape).zeros
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
        "weights": mask.count,
        "channels_removed": start.removed_channels,
        "forward_flops": forward_flops(net, dataset.spec.shape),
        "kept_flops": masked_flops(net, mask, dataset.spec.shape),
        "ticket": ticket.hash if ticket else None,
    }
