"""The one training loop, in the order of the algorithm."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from robust_tickets.base.followers import shared_work
from robust_tickets.base.random_streams import step_seed, use_seed
from robust_tickets.data.batches import steps_per_epoch, to_float
from robust_tickets.data.dataset import Dataset
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.fold import FoldedNet, foldable_batchnorms
from robust_tickets.models.modes import train_mode
from robust_tickets.models.probabilities import probability_warnings
from robust_tickets.models.weights import StateDict, copy_state
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import masking_for
from robust_tickets.recipe.methods import make_method
from robust_tickets.training.averaging import WeightAverage
from robust_tickets.training.collapse import watch_collapse
from robust_tickets.training.config import Session, TrainingConfig
from robust_tickets.training.data_parallel import call_followers, check_shared, take_steps_of_leader
from robust_tickets.training.epochs import Setup, add_point, checkpoint, end_epoch
from robust_tickets.training.monitors import DivergedError, Monitor
from robust_tickets.training.optimisers import make_optimiser, set_learning_rate
from robust_tickets.training.precision import step_precision, supported_compute, training_networks
from robust_tickets.training.schedules import learning_rate
from robust_tickets.training.state import TrainingState
from robust_tickets.training.training_batches import training_batches


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

    Of several processes, each calls it, and all have the result.

    Validates on the held-out images, clean and under PGD, after every epoch, the weights and their average;
    the first of all that have the highest accuracy of the kind that chooses are the best. Raises
    DivergedError where loss or gradients are no longer finite, and InputError where a batch is larger than
    the training set or the saved state does not fit.
    """
    check_shared(net, config, session.group)
    with shared_work(session.group, DivergedError):
        call_followers(net, mask, data, config, session)
        return _fit(net, mask, data, config, session)


def _fit(
    net: nn.Module, mask: Mask | None, data: Dataset, config: TrainingConfig, session: Session
) -> TrainingResult:
    state, setup = _prepare(net, mask, data, config, session)
    settings, ledger, group = config.settings, session.ledger, session.group
    method, optimiser, masking = state.method, state.optimiser, setup.masking
    try:
        for epoch in range(state.epoch + 1, setup.epochs + 1):
            train_mode(net)
            for batch in ledger.charge_each(
                "data", training_batches(data, config, epoch, state.step, method.replays, group)
            ):
                checkpoint(state, session)
                if state.step in config.points:
                    add_point(state, setup)
                if state.step == config.early_step:
                    state.early = copy_state(net)

                with ledger.phase("attack"), setup.precision():
                    adversarial = method.perturb(setup.nets, batch)
                with ledger.phase("update"), setup.precision():
                    set_learning_rate(optimiser, learning_rate(settings, state.step, config.steps))
                    optimiser.zero_grad(set_to_none=True)
                    with use_seed(step_seed(config.seed, state.step)):  # dropout and the like
                        loss = method.loss(setup.nets, batch, adversarial)
                    loss.backward()  # type: ignore[no-untyped-call]
                    method.after_backward(setup.nets, batch)
                    if masking is not None:
                        masking.mask_gradients()
                    loss = group.mean(loss.detach())
                    state.monitor.observe(state.step, loss, adversarial)
                    optimiser.step()
                    take_steps_of_leader(net, session)
                    if masking is not None:
                        masking.mask_parameters()
                    if state.average is not None:
                        state.average.update(state.step, method.images_of_update(adversarial))
                    state.loss_sum += loss
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


def _prepare(
    net: nn.Module, mask: Mask | None, data: Dataset, config: TrainingConfig, session: Session
) -> tuple[TrainingState, Setup]:
    """The state before the first step, or as it was saved, and what the steps need."""
    ledger, settings, compute = session.ledger, config.settings, config.compute
    pairs = foldable_batchnorms(net, data.spec.shape)
    folded = FoldedNet(net, pairs)
    method, detector = watch_collapse(make_method(settings), settings)
    make = partial(make_optimiser, net, data.spec.shape) if session.optimiser is None else session.optimiser
    if mask is not None and settings.optimiser != "sgd":
        mask.check_canonical(f"the optimiser {settings.optimiser}")
    masking = None if mask is None else masking_for(net, mask, data.spec.shape, method.moves_mask)
    if masking is not None:
        masking.mask_parameters()
    per_epoch = steps_per_epoch(len(data.train), settings.batch)
    state = TrainingState(
        net=net,
        optimiser=make(settings),
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
        average=WeightAverage(net, pairs, config, per_epoch, session.group) if config.average else None,
    )
    if masking is not None:
        masking.optimiser = state.optimiser
    flops = forward_flops(net, data.spec.shape)
    state.method.prepare(data)
    if session.saved is not None:
        state.load_state_dict(session.saved)
        session.checkpointer.set_fallback(state.step, session.saved)
    state.method.begin(masking)
    with ledger.phase("compile" if compute.compile else "other"):
        images = to_float(data.train.images[session.group.part(settings.batch)], compute.channels_last)
        images.requires_grad_(detector is not None)  # as those of the update, which code is compiled for
        nets, warnings = training_networks(net, folded, compute, images, masking, session.group)
        ledger.precision = supported_compute(compute, images.device.type)[0].precision
        precision = step_precision(compute, images.device.type)
    warnings += masking.warnings if masking is not None else []
    warnings += probability_warnings(net, data.spec.shape)
    state.monitor.begin(warnings, ledger, state.step)
    return state, Setup(data, config, session, nets, folded, masking, flops, per_epoch, detector, precision)
