"""State dicts of networks: copied and loaded."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError

StateDict = dict[str, Tensor]
"""Parameters and buffers by name."""


def mismatches(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """How tensors by name differ from those of a network: names that are missing or unknown, then shapes."""
    missing = [f"{name} is missing" for name in expected if name not in state]
    unknown = [f"{name} is not in the network" for name in state if name not in expected]
    shapes = [
        f"{name} is {tuple(tensor.shape)}, in the network {tuple(expected[name].shape)}"
        for name, tensor in state.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    return [*missing, *unknown, *shapes]


def load_weights(net: nn.Module, state: StateDict, kind: str) -> None:
    """Copy a state dict into a network, in place; `kind` names it in messages, with the network it is of.

    Raises InputError with the first parameter that does not fit.
    """
    mistakes = mismatches(state, net.state_dict())
    if mistakes:
        raise InputError(
            f"the {kind} does not fit the network, {mistakes[0]}: use the network that it comes from"
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
