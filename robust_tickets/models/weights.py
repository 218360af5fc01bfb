"""State dicts of networks: copied and loaded."""

import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError

StateDict = dict[str, Tensor]
"""Parameters and buffers by name."""


@torch.no_grad()
def load_weights(net: nn.Module, state: dict[str, Tensor], kind: str) -> None:
    """Copy a state dict into a network, in place; `kind` names it in messages.

    Raises InputError with the first parameter that does not fit.
    """
    expected = net.state_dict()
    for name in [*expected, *state]:
        if name not in state:
            raise InputError(f"the {kind} does not fit the network: it has nothing for {name}")
        if name not in expected:
            raise InputError(f"the {kind} does not fit the network: the network has no {name}")
        if expected[name].shape != state[name].shape:
            raise InputError(
                f"the {kind} does not fit the network: {name} is {tuple(state[name].shape)} in the {kind}, "
                f"{tuple(expected[name].shape)} in the network; use the recipe that it comes from"
            )
    net.load_state_dict(state)


def copy_state(net: nn.Module) -> StateDict:
    """A copy of a network's parameters and buffers, in host memory."""
    return copy_tensors(net.state_dict())


def copy_tensors(tensors: StateDict) -> StateDict:
    """A copy of tensors by name, in host memory."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
