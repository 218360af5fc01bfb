"""The running statistics of BatchNorms, estimated anew as means over batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robust_tickets.base.random_streams import step_seed, use_seed
from robust_tickets.models.modes import train_mode


def moving_batchnorms(net: nn.Module) -> list[_BatchNorm]:
    """The BatchNorms of a network in train mode whose running statistics every pass moves."""
    return [
        module
        for module in net.modules()
        if isinstance(module, _BatchNorm)
        and module.training
        and module.track_running_stats
        and module.running_mean is not None
    ]


def has_statistics(net: nn.Module) -> bool:
    """Whether training moves the running statistics of a BatchNorm; leaves the network in train mode."""
    return bool(moving_batchnorms(train_mode(net)))


@contextmanager
def averaging_statistics(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Within it, the statistics of these BatchNorms are the means over their calls."""
    handles = [_average_statistics(norm) for norm in norms]
    momenta = [norm.momentum for norm in norms]
    try:
        yield
    finally:
        for handle, norm, momentum in zip(handles, norms, momenta, strict=True):
            handle.remove()
            norm.momentum = momentum


@torch.no_grad()
def pass_through(net: nn.Module, images: Sequence[Tensor], seed: int, first: int = 0) -> None:
    """Make a network's statistics those of these batches of images.

    seed, first: of the training, and the step of the first batch, which dropout draws from.
    """
    with averaging_statistics(moving_batchnorms(train_mode(net))):
        for step, batch in enumerate(images, first):
            with use_seed(step_seed(seed, step)):
                net(batch)


def _average_statistics(norm: _BatchNorm) -> torch.utils.hooks.RemovableHandle:
    """Let a BatchNorm's statistics be the mean over its calls from now on, until the handle is removed.

    As momentum None gives it, which makes a GPU wait at each call.
    """
    calls = 0

    def before(module: nn.Module, inputs: object) -> None:
        nonlocal calls
        if calls == 0:
            norm.reset_running_stats()
        calls += 1
        norm.momentum = 1 / calls

    return norm.register_forward_pre_hook(before)
