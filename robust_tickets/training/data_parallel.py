"""One training over several processes: each takes its share of every batch, and gradients are averaged.

Batches, random numbers, BatchNorm statistics and weights are those of one process, up to rounding.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.process_group import ProcessGroup
from robust_tickets.data.dataset import Dataset
from robust_tickets.models.synchronised_norms import check_norms
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.training_fields import Training
from robust_tickets.training.config import Session, TrainingConfig

if TYPE_CHECKING:
    from robust_tickets.pruning.mask import Mask

_FOLLOW = f"{__name__}:follow"


def check_parallel(net: nn.Module, settings: Training, devices: int, field: str) -> None:
    """Raise InputError for a training that so many devices cannot share; field: its batch's name."""
    if settings.batch % devices:
        raise InputError(
            f"{field} {settings.batch} does not divide among {devices} devices: choose a multiple of "
            f"{devices}"
        )
    if make_method(settings).ties_batch:
        raise InputError(
            f"the loss of method {settings.method} is of a whole batch and no mean over its images: train on "
            "one device, or choose another method"
        )
    check_norms(net)


def check_shared(net: nn.Module, config: TrainingConfig, group: ProcessGroup) -> None:
    """Raise InputError for a training that the processes of a group cannot share."""
    if group.size > 1:
        check_parallel(net, config.settings, group.size, "batch")


def call_followers(
    net: nn.Module, mask: "Mask | None", data: Dataset, config: TrainingConfig, session: Session
) -> None:
    """Let the other processes take part in a training that this one begins; arguments as `fit` has them."""
    group = session.group
    if group.size > 1 and group.is_leader:
        images = replace(data, test=data.test.first(1))  # which trainings do not see
        own_optimiser, threads = session.optimiser is not None, torch.get_num_threads()
        saved = session.saved
        if saved is not None and own_optimiser:
            saved = {**saved, "optimiser": {}}
        group.call(_FOLLOW, net, mask, images, config, saved, own_optimiser, threads)


def follow(
    group: ProcessGroup,
    net: nn.Module,
    mask: "Mask | None",
    data: Dataset,
    config: TrainingConfig,
    saved: dict[str, Any] | None,
    own_optimiser: bool,
    threads: int,
) -> None:
    """Take part in a training that the leader has begun.

    own_optimiser: whether the leader has an optimiser of its own, whose steps it shares.
    threads: of each process.
    """
    from robust_tickets.training.loop import fit

    torch.set_num_threads(threads)
    optimiser = _no_optimiser if own_optimiser else None
    session = Session(Ledger("train"), saved=saved, group=group, optimiser=optimiser)
    fit(net, mask, data, config, session)


def _no_optimiser(settings: Training) -> Optimizer:
    """An optimiser that moves nothing: the leader's does, and shares what comes of it."""
    return torch.optim.SGD([torch.zeros(())], lr=settings.lr)


def take_steps_of_leader(net: nn.Module, session: Session) -> None:
    """Give the network the weights that the leader's own optimiser has made."""
    if session.optimiser is not None:
        session.group.copy_from_leader([p.detach() for p in net.parameters()])


def check_equal(net: nn.Module, group: ProcessGroup) -> None:
    """Raise InputError where the processes no longer have the same network, after an epoch."""
    if group.size == 1:
        return
    state = net.state_dict()
    sums = torch.stack([tensor.detach().double().sum() for tensor in state.values()]).tolist()
    for name, *values in zip(state, *group.gather_objects(sums), strict=True):
        if any(value != values[0] and value == value for value in values):
            raise InputError(
                f"{name} differs between devices: something in the network depends on more than its images, "
                "weights and PyTorch's generators; train it on one device"
            )
