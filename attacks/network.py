"""The network under attack: any callable from images to logits."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

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
    version = _version(images)
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if any(word in text for word in ("in-place", "inplace", "out=")) and _writes(net, images):
            raise InputError(WRITES) from None
        raise
    if version is not None and images._version != version:
        raise InputError(WRITES)


def _version(tensor: Tensor) -> int | None:
    """How often a tensor was written to; None of one that was made in inference mode, which has no count."""
    return None if tensor.is_inference() else tensor._version


def _writes(net: Net, images: Tensor) -> bool:
    copy = images.detach().clone()
    version = copy._version
    with torch.no_grad():
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

    By its own `train()` and `eval()`, which may be the user's: some merge weights or switch noise off.

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
        net.eval() if not train and _has_eval(net) else net.train(train)
    except NotImplementedError:  # a program of torch.export
        return False
    return True


def own_switch(module: nn.Module) -> bool:
    """Whether a module has a `train` or `eval` of its own, which may do more than set modes."""
    kind = type(module)
    replaced = kind.train is not nn.Module.train or kind.eval is not nn.Module.eval
    return replaced or not vars(module).keys().isdisjoint(("train", "eval"))


def restore_modes(net: nn.Module, modes: list[tuple[nn.Module, bool]]) -> None:
    """Put the modules of a network into the modes that `module_modes` gave.

    Where one has a `train` or `eval` of its own, the network is switched as its user would do it.
    """
    if any(module.training != mode and own_switch(module) for module, mode in modes):
        _switch(net, modes[0][1])
        for module, mode in modes:
            if module.training != mode and own_switch(module):
                _switch(module, mode)
    for module, mode in modes:
        module.training = mode


def _has_eval(net: nn.Module) -> bool:
    """Whether a network has an `eval` of its own which is called like PyTorch's, and does not test it."""
    if type(net).eval is nn.Module.eval and "eval" not in vars(net):
        return False
    try:
        signature(net.eval).bind()
    except (TypeError, ValueError):
        return False
    return True


@contextmanager
def mode_guard(net: nn.Module) -> Iterator[None]:
    """Restore each module's mode after the block, and weights and buffers that switching modes may change."""
    modes = module_modes(net)
    tensors: list[Tensor] = []
    if any(own_switch(module) for module, _ in modes):
        both = [*net.parameters(), *net.buffers()]
        tensors = [t for t in both if not (is_lazy(t) or t.is_meta or t.is_inference())]
    values = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        restore_modes(net, modes)
        for tensor, value in zip(tensors, values, strict=True):
            # merged weights are not the same bits when they are parted; and no graph may notice
            if tensor.shape == value.shape:
                tensor.data.copy_(value)


@contextmanager
def eval_mode(net: Net) -> Iterator[None]:
    """Put a module into eval mode and its parameters out of the graph, for the length of a `with` block.

    Each module's own mode is restored, so BatchNorm layers that the user froze stay frozen; and buffers, as
    some networks count their calls. A network that is no `nn.Module` is left alone: its parts are unknown.
    """
    if not isinstance(net, nn.Module):
        yield
        return
    if not any(mode for _, mode in module_modes(net)):
        with _out_of_graph(net):
            yield
        return
    with mode_guard(net):
        set_mode(net, False)
        with _out_of_graph(net):
            yield


@contextmanager
def _out_of_graph(net: nn.Module) -> Iterator[None]:
    """No gradients of parameters within the block, after which buffers are as they were."""
    trainable = [p for p in net.parameters() if p.requires_grad]
    buffers = [
        (module, name, buffer, _version(buffer), buffer.detach().clone())
        for module in net.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        # PyTorch refuses it elsewhere for parameters that were made in inference mode
        with torch.inference_mode(any(parameter.is_inference() for parameter in trainable)):
            for parameter in trainable:
                parameter.requires_grad_(True)
        for module, name, buffer, version, value in buffers:
            module._buffers[name] = buffer
            # statistics of a BatchNorm that stays in train mode count no version
            if _version(buffer) != version or getattr(module, "training", False):
                with torch.inference_mode(buffer.is_inference()), torch.no_grad():
                    buffer.copy_(value)


def misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether each sample is classified wrongly, bool (N,); NaN logits classify nothing."""
    return (logits.argmax(1) != labels) | logits.isnan().any(1)
