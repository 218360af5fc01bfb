"""Where a training stands between two steps: enough to go on from there and end with the same bits.

Batches, attacks and dropout draw from (seed, epoch or step) alone, so that no generator's state is in it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from attacks.bookmark import State
from robust_tickets.base.errors import InputError
from robust_tickets.training.checkpoint import load_weights

StateDict = dict[str, Tensor]


@dataclass(frozen=True)
class TrainingState:
    """The net before step `step` of its schedule, and all that the training has gathered by then.

    net, best, early: state dicts; moments: the optimiser's, as `<parameter's number>/<name>`; loss_sum: the
    losses of the epoch's steps so far; history: a record for each epoch that was validated; warnings: what
    the watchers saw; ledger: the stage's account so far; validation: where the validation before that step
    stands, as the states of a bookmark, if one is under way; points: a record for each validation within an
    epoch; watched: what looks at the net after every epoch remembers.
    """

    step: int
    net: StateDict
    moments: StateDict
    best: StateDict
    best_epoch: int
    early: StateDict | None
    loss_sum: Tensor
    history: list[dict[str, Any]]
    warnings: tuple[str, ...]
    ledger: dict[str, Any]
    validation: list[State] = field(default_factory=list)
    points: list[dict[str, Any]] = field(default_factory=list)
    watched: StateDict = field(default_factory=dict)

    def restore(self, net: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Put net and optimiser back, in place. Raises InputError where they do not fit."""
        load_weights(net, self.net, "training state")
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        found: dict[int, dict[str, Tensor]] = {}
        for key, value in self.moments.items():
            number, _, name = key.partition("/")
            if not number.isdecimal() or int(number) >= len(parameters):
                raise InputError(
                    f"the training state does not fit the optimiser: it has no parameter {number}"
                )
            parameter = parameters[int(number)]
            if value.shape == parameter.shape:
                # in the parameter's own memory format, as the optimiser had it
                value = torch.empty_like(parameter, dtype=value.dtype).copy_(value).detach()
            found.setdefault(int(number), {})[name] = value
        optimiser.load_state_dict({**optimiser.state_dict(), "state": found})


class Offer(Protocol):
    """Told before each step, and often within each validation, how many steps are done.

    It asks for the state when it is time to keep one, or where it is told to do so `now`.
    """

    def __call__(self, step: int, make: Callable[[], TrainingState], now: bool = False, /) -> None:
        """Keep the state, or do not."""


class EachEpoch(Protocol):
    """Looks at a training's net after every epoch."""

    def look(self) -> tuple[dict[str, Any], bool]:
        """What to record of the epoch, and whether the training has done enough."""

    def state(self) -> StateDict:
        """All that it remembers."""

    def restore(self, state: StateDict) -> None:
        """Remember what `state` gave."""


def optimiser_state(optimiser: torch.optim.Optimizer) -> StateDict:
    """A copy of what an optimiser remembers, by `<parameter's number>/<name>`, in host memory."""
    return {
        f"{number}/{name}": value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for number, entries in optimiser.state_dict()["state"].items()
        for name, value in entries.items()
        if value is not None  # SGD's momentum before its first step
    }
