"""The one training loop, in the order of the algorithm."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from robust_tickets.base import signals
from robust_tickets.base.errors import InputError
from robust_tickets.base.random_streams import step_seed, use_seed
from robust_tickets.data.batches import steps_per_epoch, to_float
from robust_tickets.data.dataset import Dataset
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.fold import FoldedNet, foldable_batchnorms
from robust_tickets.models.modes import train_mode
from robust_tickets.models.probabilities import probability_warnings
from robust_tickets.models.view_check import check_view
from robust_tickets.models.weights import StateDict, copy_state
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import Masking, masking_for
from robust_tickets.recipe.methods import make_method
from robust_tickets.training.averaging import WeightAverage
from robust_tickets.training.best_epoch import choose_best, restore_best
from robust_tickets.training.checkpointer import Checkpointer
from robust_tickets.training.collapse import CollapseDetector, watch_collapse
from robust_tickets.training.config import Session, TrainingConfig
from robust_tickets.training.methods.base import Networks
from robust_tickets.training.monitors import DivergedError, Monitor
from robust_tickets.training.optimisers import make_optimiser, set_learning_rate
from robust_tickets.training.precision import training_networks
from robust_tickets.training.schedules import learning_rate
from robust_tickets.training.state import TrainingState
from robust_tickets.training.training_batches import training_batches
from robust_tickets.training.validation import Validation, validate


@dataclass(frozen=True)
class TrainingResult:
    """The weights of the epoch that validation chose and of the last one, and the records on the way.

    best, last: state dicts; `last` is the best epoch's where the training went back to it.
    history: a record an epoch, the last one perhaps cut short: epoch (from 1), step (steps taken by its end),
    lr (of its last step), train_loss, what `validate` measured (val_average_clean and so on: of the weights'
    average), passes and FLOPs charged so far, and the fields of the session's hook.
    early: the weights before `TrainingConfig.early_step`.
    warnings: what the monitors noticed.
    points: a record for each of `TrainingConfig.points`: step, epoch (a fraction), what `validate` measured,
    passes and FLOPs.
    best_is_average: whether `best` is the average of the weights, which was better than they were.
    average: the average of the weights after the last epoch; None: there is none.
    """

    best: StateDict
    best_epoch: int
    last: StateDict
    last_epoch: int
    history: list[dict[str, Any]]
    early: StateDict | None = None
    warnings: tuple[str, ...] = ()
    points: list[dict[str, Any]] = field(default_factory=list)
    best_is_average: bool = False
    average: StateDict | None = None

    def record(self, epoch: int) -> dict[str, Any]:
        """The record of an epoch."""
        return next(record for record in self.history if record["epoch"] == epoch)


def fit(
    net: nn.Module, mask: Mask | None, data: Dataset, config: TrainingConfig, session: Session
) -> TrainingResult:
    """Train a network in place by the method of its settings.

    net: the network, on the device of the data.
    mask: the weights that are kept; pruned ones are 0.0 after every step. None: all, without a mask's cost.
    data: training and validation images.
    config: settings, length, threat model and seed.
    session: takes cost, progress and states, and has the state to resume from.

    Validates on the held-out images, clean and under PGD, after every epoch, the weights and their average;
    the first of all that have the highest accuracy of the kind that chooses are the best. Raises
    DivergedError where loss or gradients are no longer finite, and InputError where a batch is larger than
    the training set or the saved state does not fit.
    """
    state, setup = _prepare(net, mask, data, config, session)
    settings, ledger = config.settings, session.ledger
    method, optimiser, masking = state.method, state.optimiser, setup.masking
    try:
        for epoch in range(state.epoch + 1, setup.epochs + 1):
            train_mode(net)
            for batch in ledger.charge_each(
                "data", training_batches(data, config, epoch, state.step, method.replays)
            ):
                checkpoint(state, session.checkpointer)
                if state.step in config.points:
                    add_point(state, setup)
                if state.step == config.early_step:
                    state.early = copy_state(net)

                with ledger.phase("attack"):
                    adversarial = method.perturb(setup.nets, batch)
                with ledger.phase("update"):
                    set_learning_rate(optimiser, learning_rate(settings, state.step, config.steps))
                    optimiser.zero_grad(set_to_none=True)
                    with use_seed(step_seed(config.seed, state.step)):  # dropout and the like
                        loss = method.loss(setup.nets, batch, adversarial)
                    loss.backward()  # type: ignore[no-untyped-call]
                    method.after_backward(setup.nets, batch)
                    if masking is not None:
                        masking.mask_gradients()
                    state.monitor.observe(state.step, loss, adversarial)
                    optimiser.step()
                    if masking is not None:
                        masking.mask_parameters()
                    if state.average is not None:
                        state.average.update(state.step, method.images_of_update(adversarial))
                    state.loss_sum += loss.detach()
                cost = method.passes_taken(settings.batch, batch.step)
                ledger.count("attack", cost.attack, setup.flops)
                ledger.count("update", cost.update, setup.flops)
                session.meter.advance(1, cost.whole.total)
                state.step += 1
            if end_epoch(state, setup):
                break
    except DivergedError:
        session.checkpointer.save_fallback()
        raise
    return TrainingResult(
        best=state.best,
        best_epoch=state.best_epoch,
        last=copy_state(net),
        last_epoch=state.epoch,
        history=state.history,
        early=state.early,
        warnings=tuple(state.monitor.warnings),
        points=state.points,
        best_is_average=state.best_is_average,
        average=None if state.average is None else copy_state(state.average.net),
    )


@dataclass(frozen=True)
class _Setup:
    """What a training works with and does not change.

    folded: the network as validation sees it; flops: of its forward pass on one image; detector: of
    catastrophic overfitting, part of a method that may overfit so.
    """

    data: Dataset
    config: TrainingConfig
    session: Session
    nets: Networks
    folded: FoldedNet
    masking: Masking | None
    flops: int
    per_epoch: int
    detector: CollapseDetector | None

    @property
    def epochs(self) -> int:
        """Epochs of the whole schedule; the last one may be cut short."""
        return -(-self.config.steps // self.per_epoch)


def end_epoch(state: TrainingState, setup: _Setup) -> bool:
    """Validate, record the epoch, choose the best, and ask the monitors; gives whether the training ends."""
    config, session, data = setup.config, setup.session, setup.data
    net, ledger, monitor, history = state.net, state.ledger, state.monitor, state.history
    monitor.check()
    if not state.history:
        with state.ledger.phase("validate"):
            check_view(state.net, setup.folded, setup.data.spec.shape)
    validation = _validate(state, setup)
    averaged: dict[str, Any] = {}
    if state.average is not None:
        averaged = _validate_average(state, state.average, setup, validation)
    ledger.count("validate", validation.passes, setup.flops)
    fields: dict[str, Any] = {}
    ended = False
    if state.hook is not None:
        with ledger.phase("prune"):
            fields, ended = state.hook()
    early_copied = config.early_step is None or config.early_step < state.step
    ended = (ended and early_copied) or state.step == config.steps
    begin = max(state.epoch * setup.per_epoch, config.begin)
    state.epoch += 1
    history.append(
        {
            "epoch": state.epoch,
            "step": state.step,
            "lr": learning_rate(config.settings, state.step - 1, config.steps),
            "train_loss": float(state.loss_sum) / (state.step - begin),
            **validation.record,
            **averaged,
            "passes": ledger.charged_passes,
            "flops": ledger.charged_flops,
            **fields,
        }
    )
    state.loss_sum.zero_()
    with ledger.phase("checkpoint"):
        choose_best(state, config)
    ledger.settle()
    ledger.end_epoch()
    accuracies = f"clean {history[-1]['val_clean']:.1%}  robust {history[-1]['val_robust']:.1%}"
    if averaged:
        accuracies += "  average {val_average_clean:.1%}  {val_average_robust:.1%}".format(**averaged)
    session.meter.note(f"epoch {state.epoch}/{setup.epochs}  {accuracies}")
    if setup.masking is not None:
        setup.masking.check()
    monitor.check_pace(state.epoch, ledger.step_seconds, state.step)
    monitor.check_collapse(history, validation.right, data.val.labels, last=ended)
    collapse = "" if setup.detector is None else setup.detector.warning()
    overfitted = monitor.overfitted(history, data.val.labels, collapse)
    if overfitted and config.settings.overfitting == "restore-best":
        restore_best(state)
        if state.early is None and config.early_step is not None:
            state.early = copy_state(net)
        return True
    if not ended and session.checkpointer.saves_regularly:
        with ledger.phase("checkpoint"):
            session.checkpointer.set_fallback(state.step, state.state_dict())
    return ended


def checkpoint(state: TrainingState, checkpointer: Checkpointer) -> None:
    """Save the state where that is due, and stop here where a signal asks for it."""
    if checkpointer.due(state.step):
        with state.ledger.phase("checkpoint"):
            checkpointer.save(state.step, state.state_dict())
    signals.raise_if_requested()


def add_point(state: TrainingState, setup: _Setup) -> None:
    """Validate within an epoch, and record it."""
    validation = _validate(state, setup)
    state.ledger.count("validate", validation.passes, setup.flops)
    point = {"step": state.step, "epoch": state.step / setup.per_epoch, **validation.record}
    point |= {"passes": state.ledger.charged_passes, "flops": state.ledger.charged_flops}
    state.points.append(point)


def _validate_average(
    state: TrainingState, average: WeightAverage, setup: _Setup, validation: Validation
) -> dict[str, Any]:
    """Estimate the statistics of the average, validate it, and give the fields of its record.

    validation: the network's own, whose passes get those of the average added.
    """
    with state.ledger.phase("average"):
        passes = average.settle(state.step)
    state.ledger.count("average", passes, setup.flops)
    own = _validate(state, setup, average.folded)
    validation.passes.add(own.passes)
    return {f"val_average_{name.removeprefix('val_')}": value for name, value in own.record.items()}


def _validate(state: TrainingState, setup: _Setup, average: FoldedNet | None = None) -> Validation:
    """Validate, with a checkpoint between two chunks of images: a stop there begins it again.

    average: what is validated in place of the network, without FGSM, which is for the monitors.
    """
    between = partial(checkpoint, state, setup.session.checkpointer)
    folded, fgsm = setup.folded if average is None else average, average is None and state.method.single_step
    with state.ledger.phase("validate"):
        try:
            return validate(folded, setup.data.val, setup.config, fgsm, between)
        except DivergedError:
            raise
        except InputError as error:  # the last step's update was too much: the network gives NaN
            raise state.monitor.diverged(state.step - 1, f"on validation images {error}") from None


def _prepare(
    net: nn.Module, mask: Mask | None, data: Dataset, config: TrainingConfig, session: Session
) -> tuple[TrainingState, _Setup]:
    """The state before the first step, or as it was saved, and what the steps need."""
    ledger, settings, compute = session.ledger, config.settings, config.compute
    pairs = foldable_batchnorms(net, data.spec.shape)
    folded = FoldedNet(net, pairs)
    masking = None if mask is None else masking_for(net, mask, data.spec.shape)
    if masking is not None:
        masking.mask_parameters()
    per_epoch = steps_per_epoch(len(data.train), settings.batch)
    method, detector = watch_collapse(make_method(settings), settings)
    state = TrainingState(
        net=net,
        optimiser=make_optimiser(net, settings),
        method=method,
        monitor=Monitor(
            net, ledger.stage, session.meter, partial(learning_rate, settings, steps=config.steps)
        ),
        ledger=ledger,
        hook=session.hook,
        step=config.begin,
        epoch=config.begin // per_epoch,
        loss_sum=torch.zeros((), device=data.train.images.device),
        best=copy_state(net),
        average=WeightAverage(net, pairs, config, per_epoch) if config.average else None,
    )
    flops = forward_flops(net, data.spec.shape)
    state.method.prepare(data)
    if session.saved is not None:
        state.load_state_dict(session.saved)
        session.checkpointer.set_fallback(state.step, session.saved)
    with ledger.phase("compile" if compute.compile else "other"):
        images = to_float(data.train.images[: settings.batch], compute.channels_last)
        images.requires_grad_(detector is not None)  # as those of the update, which code is compiled for
        nets, warnings = training_networks(net, folded, compute, images, masking)
    warnings += masking.warnings if masking is not None else []
    warnings += probability_warnings(net, data.spec.shape)
    state.monitor.begin(warnings, ledger.step_seconds, state.step)
    return state, _Setup(data, config, session, nets, folded, masking, flops, per_epoch, detector)
