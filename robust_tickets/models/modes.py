"""Train mode without what the user froze, and whose mode a network reads."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from robust_tickets.attacks.network import mode_guard, own_switch, set_mode


def frozen_modules(net: nn.Module) -> list[nn.Module]:
    """Modules in eval mode while others with parameters are in train mode, as BatchNorms that are frozen.

    A network that is in eval mode as a whole, as one that was loaded, is not frozen; one all of which is in
    eval mode but for a head is. (BatchNorms alone in train mode are no head: some networks keep them there.)
    """
    # programs of torch.export have no mode
    if not hasattr(net, "training"):
        return []
    with_weights = [m for m in net.modules() if any(True for _ in m.parameters(recurse=False))]
    if not net.training:
        with_weights = [m for m in with_weights if not isinstance(m, _BatchNorm)]
        if any(map(own_switch, net.modules())):  # its own eval() may leave modules in train mode
            return []
    if not any(getattr(m, "training", False) for m in with_weights):
        return []
    return [module for module in net.modules() if not getattr(module, "training", True)]


def train_mode(net: nn.Module) -> nn.Module:
    """Put a network in train mode but for the modules that the user froze; returns the network."""
    frozen = frozen_modules(net)
    set_mode(net, True)
    for module in frozen:
        if own_switch(module):
            set_mode(module, False)
        module.training = False
    return net


@contextmanager
def restored_net(net: nn.Module) -> Iterator[None]:
    """After the block, a network has the modes and buffers that it had, and no gradients."""
    buffers = [(buffer, buffer.clone()) for buffer in net.buffers()]
    try:
        with mode_guard(net):
            yield
    finally:
        for parameter in net.parameters():
            parameter.grad = None
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


@contextmanager
def mode_reads() -> Iterator[Collection[nn.Module]]:
    """Record the modules whose mode is read within the block, by whatever code."""
    read: dict[int, nn.Module] = {}

    def get(module: nn.Module) -> bool:
        if "training" not in vars(module):  # TorchScript keeps it elsewhere
            raise AttributeError("training")
        read[id(module)] = module
        return bool(vars(module)["training"])

    def set_value(module: nn.Module, mode: bool) -> None:
        vars(module)["training"] = mode

    # a property of the class comes before the attribute of the object
    nn.Module.training = property(get, set_value)  # type: ignore[assignment]
    try:
        yield read.values()
    finally:
        del nn.Module.training
