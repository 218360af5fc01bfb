"""What a training does between its steps: save its state, validate, record an epoch, choose the best one."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from robust_tickets.base import signals
from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import Dataset
from robust_tickets.models.fold import FoldedNet
from robust_tickets.models.view_check import check_view
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.masking import Masking
from robust_tickets.training.averaging import WeightAverage
from robust_tickets.training.best_epoch import choose_best, restore_best
from robust_tickets.training.collapse import CollapseDetector
from robust_tickets.training.config import Session, TrainingConfig
from robust_tickets.training.data_parallel import check_equal
from robust_tickets.training.methods.base import Networks
from robust_tickets.training.monitors import DivergedError
from robust_tickets.training.schedules import learning_rate
from robust_tickets.training.state import TrainingState
from robust_tickets.training.validation import Validation, validate


@dataclass(frozen=True)
class Setup:
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
    precision: Callable[[], AbstractContextManager[None]]

    @property
    def epochs(self) -> int:
        """Epochs of the whole schedule; the last one may be cut short."""
        return -(-self.config.steps // self.per_epoch)


def end_epoch(state: TrainingState, setup: Setup) -> bool:
    """Validate, record the epoch, choose the best, and ask the monitors; gives whether the training ends."""
    config, session, data = setup.config, setup.session, setup.data
    net, ledger, monitor, history = state.net, state.ledger, state.monitor, state.history
    monitor.check()
    check_equal(net, session.group)
    if not state.history:
        with state.ledger.phase("validate"):
            check_view(state.net, setup.folded, setup.data.spec.shape)
    validation = _validate(state, setup)
    averaged: dict[str, Any] = {}
    if state.average is not None:
        averaged = _validate_average(state, state.average, setup, validation)
    ledger.count("validate", validation.passes, setup.flops)
    outcome: tuple[dict[str, Any], bool] = {}, False
    if state.hook is not None:
        with ledger.phase("prune"):
            outcome = state.hook()
    fields, ended = session.group.share(outcome)
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
    with ledger.phase("checkpoint"):
        session.on_epoch(history)
    if setup.masking is not None:
        setup.masking.check()
    monitor.check_pace(state.epoch, ledger, state.step)
    monitor.check_collapse(history, validation.right, data.val.labels, last=ended)
    overfitted = monitor.check_overfitting(history, data.val.labels, setup.detector)
    if overfitted and config.settings.overfitting == "restore-best":
        last = state.epoch
        restore_best(state)
        monitor.tell_restored(last, state.epoch)
        if state.early is None and config.early_step is not None:
            state.early = copy_state(net)
        return True
    if not ended and session.group.share_flag(session.checkpointer.saves_regularly):
        with ledger.phase("checkpoint"):
            session.checkpointer.set_fallback(state.step, state.state_dict())
    return ended


def checkpoint(state: TrainingState, session: Session) -> None:
    """Save the state where that is due, and stop here where a signal asks for it."""
    if session.group.share_flag(session.checkpointer.due(state.step)):
        with state.ledger.phase("checkpoint"):
            session.checkpointer.save(state.step, state.state_dict())
    signals.raise_if_requested()


def add_point(state: TrainingState, setup: Setup) -> None:
    """Validate within an epoch, and record it."""
    validation = _validate(state, setup)
    state.ledger.count("validate", validation.passes, setup.flops)
    point = {"step": state.step, "epoch": state.step / setup.per_epoch, **validation.record}
    point |= {"passes": state.ledger.charged_passes, "flops": state.ledger.charged_flops}
    state.points.append(point)


def _validate_average(
    state: TrainingState, average: WeightAverage, setup: Setup, validation: Validation
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


def _validate(state: TrainingState, setup: Setup, average: FoldedNet | None = None) -> Validation:
    """Validate, with a checkpoint between two chunks of images: a stop there begins it again.

    average: what is validated in place of the network, without FGSM, which is for the monitors.
    """
    between = partial(checkpoint, state, setup.session)
    folded, fgsm = setup.folded if average is None else average, average is None and state.method.single_step
    with state.ledger.phase("validate"):
        try:
            return validate(folded, setup.data.val, setup.config, fgsm, between, setup.session.group)
        except DivergedError:
            raise
        except InputError as error:  # the last step's update was too much: the network gives NaN
            raise state.monitor.diverged(state.step - 1, f"on validation images {error}") from None
