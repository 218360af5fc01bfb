"""The stage that trains one arm, in a run directory or in memory."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from robust_tickets.base import signals
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.data.dataset import Dataset
from robust_tickets.models.flops import forward_flops
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import masking_for
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.methods import make_method
from robust_tickets.runs import files
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages.epoch_log import EpochLog
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.plan import ArmPlan, field_names
from robust_tickets.stages.reuse import arm_key, check_finished, reuse_arm
from robust_tickets.tickets.narrow_net import masked_flops
from robust_tickets.tickets.starting_net import StartingNet, starting_net
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.checkpointer import Checkpointer, remove_states
from robust_tickets.training.config import Session
from robust_tickets.training.loop import TrainingResult, fit
from robust_tickets.training.untrained import keep_untrained


def train_net(
    experiment: Experiment, seed: int, plan: ArmPlan, ticket: Ticket | None
) -> tuple["PreparedTraining", TrainingResult]:
    """Train one arm of one seed and write nothing; arguments as `train` has them."""
    experiment.prepare()
    problem = experiment.init_problem(seed)
    if problem:
        experiment.log(problem)
    work = PreparedTraining.of(experiment, seed, plan, ticket)
    dataset = work.load()
    with work.ledger.measure():
        return work, work.run(dataset)


def train(
    experiment: Experiment, seed: int, run: RunDirectory, plan: ArmPlan, ticket: Ticket | None
) -> ArmDirectory:
    """Train one arm of one seed, dense or from a ticket, unless another run directory has the same arm.

    Returns its folder, with `best.safetensors`, `last.safetensors`, and `average.safetensors` where the
    weights are averaged. An arm of a run directory beside this one is copied.

    Raises InputError for a ticket that does not fit the recipe's network, and for a finished arm that is not
    whole.
    """
    folder, machine, recipe = run.arm(seed, plan.arm), experiment.machine, experiment.recipe
    inputs = experiment.inputs(seed)
    run.check_inputs(inputs)
    if folder.is_finished:
        check_finished(folder, plan.points)
        run.write_recipe()
        remove_states(folder.states)
        machine.progress.done_before(f"already done: {folder}")
        return folder
    experiment.prepare()
    run.check_machine(machine.device, any_machine=machine.any_machine, devices=machine.world_size)
    ticket_hash = ticket.hash if ticket else None
    key = arm_key(recipe, plan, ticket_hash, seed, inputs)
    work = PreparedTraining.of(experiment, seed, plan, ticket)
    ledger = work.ledger
    dataset = work.load()
    with ledger.measure(), ledger.phase("load"):
        inputs["images"] = dataset.fingerprint
        run.check_inputs(inputs)
        run.begin(machine.device, inputs, any_machine=machine.any_machine, devices=machine.world_size)
    # only now that the images are known, which have to be the same
    if not folder.states.is_dir() and reuse_arm(experiment, run, folder, plan, key, inputs):
        return folder
    identity = {"recipe": recipes.to_table(recipe), "inputs": inputs, "seed": seed, "arm": plan.arm}
    identity["ticket"] = ticket_hash
    checkpointer = experiment.checkpointer(folder.states, identity)
    with signals.deferred():
        with EpochLog(folder, machine.tensorboard) as log, ledger.measure():
            result = work.run(dataset, checkpointer, log)
            with ledger.phase("checkpoint"):
                for name, checkpoint in work.checkpoints(result, inputs).items():
                    checkpoint.save(folder.path / f"{name}.safetensors")
                files.write_jsonl(folder.metrics, result.history)
                files.write_jsonl(folder.early_metrics, result.points)
        about = describe(work.start, plan, result, ticket, dataset)
        about |= {"width": recipe.model.width, "key": key}
        if plan.is_averaged:
            about["best_is_average"] = result.best_is_average
        files.write_json(folder.record, about)
        # last of all: it says that the folder is whole
        files.write_json(folder.ledger, {**ledger.report(), "warnings": list(result.warnings)})
        remove_states(folder.states)
    return folder


@dataclass(frozen=True)
class PreparedTraining:
    """The training of one arm, ready to run.

    start: the network and mask at the start.
    start_ledger: what making them cost; a saved state has that in its own ledger.
    ledger: takes the cost of the training.
    """

    experiment: Experiment
    seed: int
    plan: ArmPlan
    start: StartingNet
    start_ledger: Ledger
    ledger: Ledger

    @classmethod
    def of(
        cls, experiment: Experiment, seed: int, plan: ArmPlan, ticket: Ticket | None
    ) -> "PreparedTraining":
        """Build the network, pruned by the ticket. Raises InputError for a ticket that does not fit."""
        machine = experiment.machine
        # of several jobs, the process that starts them warns
        net = experiment.fresh_net(seed, warn=machine.jobs == 1)
        names = field_names(experiment.recipe, plan.arm, plan.training)
        experiment.check_batch(net, plan.training, names("batch"))
        machine.process_group()  # whose start is charged to nobody
        shape = experiment.spec.shape
        start_ledger = Ledger("train", clock_for(machine.device))
        with start_ledger.measure(), start_ledger.phase("prune"):
            compute = experiment.recipe.compute
            if make_method(plan.training).moves_mask:
                _check_single_weights(ticket)
                compute = replace(compute, compact=False)  # a dead channel may come back
            start = starting_net(
                net,
                ticket,
                shape,
                compute,
                lambda line: experiment.log(f"{plan.arm}, seed {seed}: {line}"),
            )
        ledger = Ledger("train", clock_for(machine.device), jobs=machine.jobs)
        return cls(experiment, seed, plan, start, start_ledger, ledger)

    def load(self) -> Dataset:
        """Load the images, at the cost of the training."""
        with self.ledger.measure(), self.ledger.phase("load"):
            return self.experiment.load()

    def run(
        self,
        dataset: Dataset,
        checkpointer: Checkpointer | None = None,
        on_epoch: Callable[[list[dict[str, Any]]], None] = lambda history: None,
    ) -> TrainingResult:
        """Train, from a saved state where there is one, within `ledger.measure()`.

        on_epoch: takes the records so far after every epoch.
        """
        plan, ledger, checkpointer = self.plan, self.ledger, checkpointer or Checkpointer()
        saved = checkpointer.newest()
        # the account of a saved state has what the start cost
        ledger.add_report(self.start_ledger.report() if saved is None else saved["ledger"])
        config = self.experiment.config(plan.training, plan.steps, self.seed, plan.points)
        count = plan.training.images
        images = replace(dataset, train=dataset.train.first(count)) if count else dataset
        title, machine = f"{plan.arm}, seed {self.seed}", self.experiment.machine
        ledger.calibrate(machine.device)
        with machine.progress.stage(title, plan.steps) as meter:
            if saved is not None:
                self.experiment.log(f"{title}: resuming after step {saved['step']} of {plan.steps}")
                meter.advance(saved["step"], 0)
            session = Session(
                ledger, meter, checkpointer, saved, group=machine.process_group(), on_epoch=on_epoch
            )
            run = fit if plan.steps else keep_untrained
            result = run(self.start.net, self.start.mask, images, config, session)
        machine.end_measurement(ledger)
        return result

    def checkpoints(self, result: TrainingResult, inputs: dict[str, str]) -> dict[str, Checkpoint]:
        """The checkpoints by name: of the best epoch, of the last one, and of the last one's average."""
        weights = {
            "best": (result.best, result.best_epoch, result.best_is_average),
            "last": (result.last, result.last_epoch, False),
        }
        if result.average is not None:
            weights["average"] = (result.average, result.last_epoch, True)
        return {
            name: Checkpoint(
                state,
                self.experiment.model_spec,
                recipes.to_table(self.experiment.recipe),
                inputs["images"],
                self.plan.arm,
                self.seed,
                epoch,
                val_clean=result.record(epoch)["val_average_clean" if averaged else "val_clean"],
                val_robust=result.record(epoch)["val_average_robust" if averaged else "val_robust"],
                function=inputs.get("net", ""),
                removed=self.start.removed_channels,
                averaged=averaged,
            )
            for name, (state, epoch, averaged) in weights.items()
        }


def _check_single_weights(ticket: Ticket | None) -> None:
    """Raise InputError for a ticket of whole channels, whose weights would come back one by one."""
    if ticket is not None and ticket.search["search"].get("granularity") == "channel":
        raise InputError(
            "train.dst moves single weights, and this ticket prunes whole channels: leave train.dst out, or "
            "take a ticket of search.granularity weight"
        )


def describe(
    start: StartingNet, plan: ArmPlan, result: TrainingResult, ticket: Ticket | None, dataset: Dataset
) -> dict[str, Any]:
    """The columns of the timing table that describe an arm, besides its cost and accuracy."""
    net = start.net
    parameters = sum(p.numel() for p in net.parameters())
    mask = start.mask or Mask.full(net)
    # fewer steps than planned where it went back to its best epoch and ended
    taken = replace(plan, steps=result.history[-1]["step"])
    pruned = 0 if start.mask is None else masking_for(net, start.mask, dataset.spec.shape).zeros
    return {
        "arm": plan.arm,
        "data": dataset.title,
        "fingerprint": dataset.fingerprint,
        "test_images": len(dataset.test),
        "most_common_class": int(dataset.test.labels.bincount().max()) / len(dataset.test),
        "epochs": taken.epochs,
        "steps_per_epoch": plan.per_epoch,
        "best_epoch": result.best_epoch,
        "lr": plan.training.lr,
        "density": ticket.mask.density if ticket else 1.0,
        "params": parameters - pruned,
        "weights": mask.count,
        "channels_removed": start.removed_channels,
        "forward_flops": forward_flops(net, dataset.spec.shape),
        "kept_flops": masked_flops(net, mask, dataset.spec.shape),
        "ticket": ticket.hash if ticket else None,
    }
