"""The average of a network's weights, for training loops of the user's own."""

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.modes import train_mode
from robust_tickets.models.norm_statistics import has_statistics, pass_through
from robust_tickets.training.averaging import move_average


class OwnWeightAverage:
    """The moving average of a network's weights over the steps of a training, as `train.average` has it.

        average = average_weights(net)
        for images, labels in loader:
            ...
            optimiser.step()
            average.update(adversarial)
        net = average.network()

    net: the network before the first step; one that was pruned keeps its zeros in the average.
    decay: of the average; in the first steps it is less, so that the init is soon forgotten.
    batches: how many of the last batches give the average's BatchNorm statistics.
    """

    def __init__(self, net: nn.Module, *, decay: float = 0.995, batches: int = 20) -> None:
        self._trained, self._decay = net, decay
        self._average = copy_net(net)
        self._images: deque[Tensor] = deque(maxlen=batches)
        self._has_statistics = has_statistics(copy_net(net))
        self._step = 0

    @torch.no_grad()
    def update(self, images: Tensor) -> None:
        """Take up the weights after a step on these images (B, C, H, W), the adversarial ones."""
        move_average(list(_weights(self._average)), list(_weights(self._trained)), self._decay, self._step)
        self._step += 1
        if self._has_statistics:
            self._images.append(images.detach().clone())

    @torch.no_grad()
    def network(self) -> nn.Module:
        """The averaged network so far, in eval mode: a copy, with statistics of the last batches.

        They cost a forward pass each. Raises InputError before the first step.
        """
        if not self._step:
            raise InputError("no step was averaged: call update(images) after each step of the optimiser")
        net = copy_net(self._average)
        statistics = dict(self._trained.named_buffers())
        for name, buffer in net.named_buffers():
            if statistics[name].shape == buffer.shape:
                buffer.copy_(statistics[name])
        pass_through(train_mode(net), list(self._images), 0)
        return net.eval()


def average_weights(net: nn.Module, *, decay: float = 0.995, batches: int = 20) -> OwnWeightAverage:
    """Begin the moving average of a network's weights in a training loop of one's own.

    net: the network, before its first step.
    decay: of the average, in [0, 1).
    batches: how many of the last batches give its BatchNorm statistics, at least 1.

    Raises InputError for other values.
    """
    if not isinstance(net, nn.Module):
        raise InputError(f"net is a {type(net).__name__}, expected an nn.Module")
    if not 0 <= decay < 1:
        raise InputError(f"decay must be in [0, 1), got {decay!r}")
    if batches < 1:
        raise InputError(f"batches must be at least 1, got {batches!r}")
    return OwnWeightAverage(net, decay=decay, batches=batches)


def _weights(net: nn.Module) -> Iterator[Tensor]:
    return (parameter for parameter in net.parameters() if parameter.is_floating_point())
