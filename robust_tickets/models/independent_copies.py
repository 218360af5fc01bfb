"""Proves that the deep copies of a network are networks of their own."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from robust_tickets.attacks.network import module_modes, set_mode
from robust_tickets.base.device_errors import is_device_error
from robust_tickets.base.errors import InputError
from robust_tickets.models.copy_net import copy_net, graph_tensors
from robust_tickets.models.trial_pass import trial_images, trial_leaves, trial_logits


def check_copies(net: nn.Module, name: str, shape: tuple[int, int, int]) -> None:
    """Raise InputError if a deep copy of the network still computes with the network itself, or with another.

    Deep copies keep functions as they are, so a lambda or a hook over the network runs the original: attacks
    would see its training mode and change its BatchNorm statistics, and pruned copies its weights. (Bound
    methods are copied with their object.)

    net: the network, which is left as it was.
    name: by which messages call it.
    shape: of an image, (C, H, W).

    In the proof, NaN takes the place of the network's weights and statistics, in training mode, and a copy's
    logits may not change; and the graphs of two copies may have no weight in common. A network whose logits
    are not finite, or another's at the same call, cannot be proved and passes.
    """
    view, twin = (set_mode(copy_net(net), False) for _ in range(2))
    images = trial_images(view, shape)
    with warnings.catch_warnings(), _own_state(net):
        warnings.simplefilter("ignore")  # of the user's code, which warns when it is called in earnest
        try:
            # twice, as lazy layers are made in the first pass
            logits = [trial_logits(view, images) for _ in range(3)][1:]
        except Exception as error:
            if is_device_error(error):
                raise
            return  # the check of logits says it in words
        if not _same(*logits):
            return
        with _poisoned(net):
            independent = _is_unchanged(view, images, logits[0])
        weights = [_weights_in_graph(each, images) for each in (view, twin)]
        place = "".join(f" ({place})" for place, _ in graph_tensors(net)[:1])
        if (place or _has_hooks(net)) and _names(net, _weights_in_graph(net, images)) != _names(
            view, weights[0]
        ):
            raise InputError(
                f"{name} cannot be copied, as attacks and pruning need it: a deep copy of it computes with a "
                f"tensor that the original has computed{place}: compute it in forward, and keep "
                "no lambda, function or hook over self in its attributes; a method of the class does the same"
            )
    if independent and not {id(w) for w in weights[0]} & {id(w) for w in weights[1]}:
        return
    raise InputError(
        f"{name} cannot be copied, as attacks and pruning need it: a deep copy of it still computes with the "
        "original's layers or weights, as lambdas and inner functions are not copied: keep no lambda, "
        "function or hook over self (or over another network) in its attributes; a method of the class does "
        "the same"
    )


def _same(logits: Tensor, others: Tensor) -> bool:
    # kernels of GPUs may round differently from call to call
    return logits.shape == others.shape and torch.allclose(logits, others, rtol=1e-3, atol=1e-5)


def _is_unchanged(view: nn.Module, images: Tensor, logits: Tensor) -> bool:
    try:
        return _same(trial_logits(view, images), logits)
    except Exception as error:  # whatever NaN leads to in the user's code
        if is_device_error(error):
            raise
        return False


def _weights_in_graph(net: nn.Module, images: Tensor) -> list[Tensor]:
    """The tensors that logits have a gradient to."""
    try:
        return trial_leaves(net, images)
    except Exception as error:
        if is_device_error(error):
            raise
        return []


def _has_hooks(net: nn.Module) -> bool:
    """Whether hooks may bring what another pass has computed."""
    if any(map(is_lazy, net.parameters())):  # hooks of PyTorch's, and a pass would make its layers
        return False
    return any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def _names(net: nn.Module, weights: list[Tensor]) -> set[str]:
    ids = set(map(id, weights))
    return {name for name, parameter in net.named_parameters() if id(parameter) in ids}


@contextmanager
def _own_state(net: nn.Module) -> Iterator[None]:
    """Eval mode within the block; then modes and buffers, which a copy may have changed, are put back."""
    modes = module_modes(net)
    buffers = [(module, dict(module._buffers)) for module in net.modules()]
    values = [
        (b, b.detach().clone())
        for _, own in buffers
        for b in own.values()
        if b is not None and _has_values(b)
    ]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for module, own in buffers:
            for key, buffer in own.items():
                if module._buffers[key] is not buffer:
                    module._buffers[key] = buffer
        with torch.no_grad():
            for buffer, value in values:
                if not torch.equal(buffer, value):  # BatchNorm moves no version counter
                    buffer.copy_(value)


@contextmanager
def _poisoned(net: nn.Module) -> Iterator[None]:
    """NaN in place of the network's floats, in training mode; its own memory is not written to."""
    plain = [t for module in net.modules() for t in vars(module).values() if isinstance(t, Tensor)]
    tensors = {id(t): t for t in (*net.parameters(), *net.buffers(), *plain) if _has_values(t)}
    own = [(tensor, tensor.data) for tensor in tensors.values() if not tensor.is_inference()]
    try:
        for module, _ in module_modes(net):
            module.training = True
        for tensor, values in own:
            poison = torch.empty_like(values).copy_(values)
            has_nan = tensor.is_floating_point() or tensor.is_complex()
            tensor.data = poison.fill_(float("nan")) if has_nan else poison
        yield
    finally:
        for tensor, values in own:
            tensor.data = values
        for module, _ in module_modes(net):
            module.training = False


def _has_values(tensor: Tensor) -> bool:
    return not is_lazy(tensor) and not tensor.is_meta
