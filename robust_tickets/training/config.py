"""The settings of a training, and its session: ledger, progress and states."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from robust_tickets.attacks import ThreatModel
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.process_group import ALONE, ProcessGroup
from robust_tickets.base.progress import StageProgress
from robust_tickets.recipe.fields import Compute, Evaluate
from robust_tickets.recipe.training_fields import Training
from robust_tickets.training.checkpointer import Checkpointer

if TYPE_CHECKING:
    from robust_tickets.tickets.mask_distance import MaskConvergence


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one training.

    settings: method, optimiser and schedule.
    steps: length of the schedule in optimiser steps.
    threat: what the validation, and the training attack but for a radius of its own, may do to an image.
    evaluate: how validation attacks, and which accuracy chooses the best epoch.
    compute: memory format, precision and compilation.
    seed: seed of batches, attacks and dropout.
    begin: step of the schedule at which the training begins.
    points: steps before which it validates, besides after every epoch.
    early_step: step before which `TrainingResult.early` is copied; None: no step.
    average: decay of the moving average of the weights; 0: there is none.
    average_batches: adversarial batches that give the average's BatchNorm statistics, at most an epoch's.
    """

    settings: Training
    steps: int
    threat: ThreatModel
    evaluate: Evaluate
    compute: Compute
    seed: int
    begin: int = 0
    points: tuple[int, ...] = ()
    early_step: int | None = None
    average: float = 0.0
    average_batches: int = 0

    @property
    def training_threat(self) -> ThreatModel:
        """What the training attack may do to an image."""
        eps = self.settings.eps
        return self.threat if eps is None else replace(self.threat, eps=eps.value)


@dataclass(frozen=True)
class Session:
    """What accompanies a training.

    ledger: takes its seconds, passes and FLOPs.
    meter: shows its progress.
    checkpointer: saves its states; by default none.
    saved: a state of this training to resume from, as `checkpointer.newest()` gave it. The ledger and the
    meter are then to have what was done before it.
    hook: called after every epoch; gives fields for its record, and whether the training may end there.
    on_epoch: takes the records so far after every epoch.
    optimiser: makes the optimiser from the settings, where it trains something else than all parameters of
    the network; None: it trains these.
    group: the processes that share the training, of which this one is the leader.
    """

    ledger: Ledger
    meter: StageProgress = field(default_factory=StageProgress)
    checkpointer: Checkpointer = field(default_factory=Checkpointer)
    saved: dict[str, Any] | None = None
    hook: "MaskConvergence | None" = None
    optimiser: Callable[[Training], Optimizer] | None = None
    group: ProcessGroup = ALONE
    on_epoch: Callable[[list[dict[str, Any]]], None] = lambda history: None
