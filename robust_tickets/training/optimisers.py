"""The optimisers, and their memory as tensors by name."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.layers import Shape, layer_roles
from robust_tickets.recipe.training_fields import Training
from robust_tickets.training.muon import Muon, hidden_weights


def make_optimiser(net: nn.Module, shape: Shape, settings: Training) -> Optimizer:
    """The optimiser of all parameters of a network.

    shape: of an image, (C, H, W).
    """
    if settings.optimiser != "muon":
        return optimiser_of(net.parameters(), settings)
    return Muon(
        net.parameters(),
        hidden_weights(net, layer_roles(net, shape).output),
        lr=settings.muon_lr,
        other_lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )


def optimiser_of(parameters: Iterable[Tensor], settings: Training) -> Optimizer:
    """SGD with momentum, or Adam with the momentum as its beta1; weight decay is added to the gradient."""
    decay = settings.weight_decay
    if settings.optimiser == "adam":
        betas = (settings.momentum, 0.999)
        return torch.optim.Adam(parameters, lr=settings.lr, betas=betas, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=settings.lr, momentum=settings.momentum, weight_decay=decay)


def set_learning_rate(optimiser: Optimizer, rate: float) -> None:
    """Let the next step take this rate for all parameters, or the share of it that a group of them has."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)


def optimiser_state(optimiser: Optimizer) -> dict[str, Tensor]:
    """A copy of what an optimiser remembers, by `<parameter's number>/<name>`, in host memory."""
    return {
        f"{number}/{name}": value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for number, entries in optimiser.state_dict()["state"].items()
        for name, value in entries.items()
        if value is not None  # SGD's momentum before its first step
    }


def load_optimiser_state(optimiser: Optimizer, state: dict[str, Tensor]) -> None:
    """Take over what `optimiser_state` gave. Raises InputError where it does not fit."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    entries: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        number, _, name = key.partition("/")
        if not number.isdecimal() or int(number) >= len(parameters):
            raise InputError(f"the training state does not fit the optimiser: it has no parameter {number}")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            # in the parameter's own memory format, as the optimiser had it
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value).detach()
        entries.setdefault(int(number), {})[name] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": entries})
