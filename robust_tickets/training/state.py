"""The mutable state of a training: enough to resume between two steps and end with the same bits.

Batches, attacks and dropout draw from (seed, epoch or step) alone, so that no generator's state is in it.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.optim import Optimizer

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.models.weights import StateDict, copy_state, copy_tensors, load_weights
from robust_tickets.runs import tensor_file
from robust_tickets.training.averaging import WeightAverage
from robust_tickets.training.methods.base import Method
from robust_tickets.training.monitors import Monitor
from robust_tickets.training.optimisers import load_optimiser_state, optimiser_state

if TYPE_CHECKING:
    from robust_tickets.tickets.mask_distance import MaskConvergence


@dataclass
class TrainingState:
    """Everything that changes in a training.

    step: steps of the schedule that are over; epoch: whole epochs that are over, validation included.
    loss_sum: sum of the losses of this epoch's steps so far, a scalar.
    best, best_epoch: weights and number of the epoch that validation chose, from 1.
    best_is_average: whether those weights are the average's.
    average: the moving average of the weights; None: there is none.
    own_best, own_best_epoch: the weights of the best epoch by their own records, and their average; kept
        where there is one and the training may go back.
    early: weights before the step that was asked for.
    history, points: a record for each validation, after epochs and within them.
    """

    net: nn.Module
    optimiser: Optimizer
    method: Method
    monitor: Monitor
    ledger: Ledger
    hook: "MaskConvergence | None"
    step: int
    epoch: int
    loss_sum: Tensor
    best: StateDict
    best_epoch: int = 0
    best_is_average: bool = False
    average: WeightAverage | None = None
    own_best: StateDict = field(default_factory=dict)
    own_best_epoch: int = 0
    early: StateDict | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    points: list[dict[str, Any]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """A copy in host memory, as a `Checkpointer` saves it. Raises DivergedError rather than a bad one."""
        self.monitor.check()
        self.ledger.settle()
        return {
            "net": copy_state(self.net),
            "optimiser": optimiser_state(self.optimiser),
            "method": copy_tensors(self.method.state_dict()),
            "hook": {} if self.hook is None else copy_tensors(self.hook.state_dict()),
            "warnings": list(self.monitor.warnings),
            "ledger": self.ledger.report(),
            "step": self.step,
            "epoch": self.epoch,
            "loss_sum": self.loss_sum.cpu().clone(),
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_is_average": self.best_is_average,
            "average": {} if self.average is None else self.average.state_dict(),
            "own_best": self.own_best,
            "own_best_epoch": self.own_best_epoch,
            "early": self.early,
            "history": list(self.history),
            "points": list(self.points),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, in place, but for the ledger, which others carry on.

        Raises InputError where it is of another training.
        """
        try:
            counts = ("step", "epoch", "best_epoch", "own_best_epoch")
            step, epoch, best_epoch, own_best_epoch = (tensor_file.field(saved, n, int) for n in counts)
            best_is_average = tensor_file.field(saved, "best_is_average", bool)
            history, points = ([dict(record) for record in saved[name]] for name in ("history", "points"))
            warnings = [str(warning) for warning in saved["warnings"]]
            load_weights(self.net, saved["net"], "training state")
            load_optimiser_state(self.optimiser, saved.get("optimiser", {}))
            self.method.load_state_dict(saved.get("method", {}))
            if self.hook is not None:
                self.hook.load_state_dict(saved.get("hook", {}))
            if self.average is not None:
                self.average.load_state_dict(saved.get("average", {}))
            self.loss_sum.copy_(saved["loss_sum"])
            best, early, own_best = dict(saved["best"]), saved["early"], dict(saved.get("own_best", {}))
        except InputError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InputError(
                f"the training state does not fit this training ({type(error).__name__}: {error}): remove it"
            ) from None
        self.step, self.epoch, self.best_epoch, self.best, self.early = step, epoch, best_epoch, best, early
        self.best_is_average, self.own_best, self.own_best_epoch = best_is_average, own_best, own_best_epoch
        self.history, self.points, self.monitor.warnings = history, points, warnings
