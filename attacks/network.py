"""The network under attack: any callable from images to logits."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn

from .errors import InputError

Net = Callable[[Tensor], Tensor]
"""From images (N, C, H, W) to logits (N, K)."""

WRITES = (
    "the network writes into its images, which belong to its caller: look for a layer that works in place on "
    "them, as sub_, div_ or clamp_, x[mask] = 0, nn.ReLU(inplace=True) or Normalize(inplace=True) at its "
    "beginning; make it work out of place, or begin forward with images = images.clone()"
)


@contextmanager
def unwritten(net: Net, images: Tensor) -> Iterator[None]:
    """Raise InputError where a call of the network within the block writes into its images.

    Their version counter tells, which no GPU has to wait for; where they are in a graph, PyTorch refuses some
    writes, and the network is asked again with a copy whether it was this write.
    """
    version = None if images.is_inference() else images._version
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if any(word in text for word in ("in-place", "inplace", "out=")) and _writes(net, images):
            raise InputError(WRITES) from None
        raise
    if version is not None and images._version != version:
        raise InputError(WRITES)


def _writes(net: Net, images: Tensor) -> bool:
    copy = images.detach().clone()
    version = copy._version
    with torch.no_grad(), suppress(RuntimeError):  # it may fail there too
        net(copy)
    return copy._version != version


def hint_for(output: object) -> str:
    """How to get at the logits of an output that is no tensor, as the end of a message."""
    if isinstance(output, Mapping):
        name = "logits" if "logits" in output else next(iter(output), "logits")
        return f", as by a module whose forward returns net(images)[{name!r}]"
    if isinstance(output, (tuple, list)):
        return ", as by a module whose forward returns net(images)[0]"
    if hasattr(output, "logits"):
        return ", as by a module whose forward returns net(images).logits"
    return ""


def module_modes(net: nn.Module) -> list[tuple[nn.Module, bool]]:
    """Each module that has a mode, and whether it is in train mode; frozen TorchScript has none."""
    return [(module, module.training) for module in net.modules() if hasattr(module, "training")]


def set_mode(net: nn.Module, train: bool) -> nn.Module:
    """Put a network into train or eval mode; gives the network, even where its own `train` gives nothing.

    A program of torch.export has the one mode that it was exported in, and frozen TorchScript is in eval mode
    for good. Raises InputError where they are to be trained.
    """
    if _switch(net, train):
        return net
    if train:
        raise InputError(
            "the network has no train mode, as exported and frozen programs have none: hand over the network "
            "that the program was made from"
        )
    for module, _ in module_modes(net):  # those around a program
        module.training = False
    return net


def _switch(net: nn.Module, train: bool) -> bool:
    """Put a network into a mode; gives whether it has modes."""
    if not hasattr(net, "training"):  # frozen TorchScript
        return False
    try:
        net.train(train)
    except NotImplementedError:  # a program of torch.export
        return False
    return True


@contextmanager
def eval_mode(net: Net) -> Iterator[None]:
    """Put a module into eval mode and its parameters out of the graph, for the length of a `with` block.

    Each module's own mode is restored, so BatchNorm layers that the user froze stay frozen; and buffers, as
    some networks count their calls. A network that is no `nn.Module` is left alone: its parts are unknown.
    """
    if not isinstance(net, nn.Module):
        yield
        return
    modes = module_modes(net)
    trainable = [p for p in net.parameters() if p.requires_grad]
    buffers = [
        (module, name, buffer, buffer._version, buffer.detach().clone())
        for module in net.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        set_mode(net, False)
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module, name, buffer, version, value in buffers:
            module._buffers[name] = buffer
            # statistics of a BatchNorm that stays in train mode count no version
            if buffer._version != version or getattr(module, "training", False):
                with torch.no_grad():
                    buffer.copy_(value)
        for module, mode in modes:
            module.training = mode


def misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether each sample is classified wrongly, bool (N,); NaN logits classify nothing."""
    return (logits.argmax(1) != labels) | logits.isnan().any(1)
