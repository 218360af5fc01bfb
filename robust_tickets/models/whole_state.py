"""Proves that a network's parameters, buffers and modules are all that a training changes of it."""

import warnings
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor, nn

from robust_tickets.attacks.network import set_mode
from robust_tickets.base.device_errors import is_device_error
from robust_tickets.base.errors import InputError
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.modes import mode_reads, train_mode
from robust_tickets.models.plain_attributes import plain_objects
from robust_tickets.models.trial_pass import Shape, trial_images, trial_leaves, trial_logits

_HOLD = "hold layers in attributes, nn.ModuleList or nn.ModuleDict, not in a plain list, dict or object"


def check_whole_state(net: nn.Module, name: str, shape: Shape) -> None:
    """Raise InputError for a network that is more than its parameters, buffers and modules.

    A file holds parameters and buffers, an optimiser is given parameters, and modes reach modules: weights
    and layers in a plain list are neither trained nor saved nor switched to eval mode, and statistics in a
    plain attribute are lost.

    net: the network, which is left as it was.
    name: by which messages call it.
    shape: of an image, (C, H, W).
    """
    for problem in (_hidden_weights, _unswitched_layers, _hidden_statistics):
        words = _proof(problem, net, shape)
        if words:
            raise InputError(f"{name} {words}")


def unswitched_layers(net: nn.Module, shape: Shape) -> str:
    """Words where a network in eval mode computes with modules in train mode which are not its own; or "".

    They are those in a plain list, as dropout, and those whose mode a function reads. It must change the
    logits whether they are in train mode. The network is left as it was.
    """
    return _proof(_unswitched_layers, net, shape)


def hidden_draws(net: nn.Module, other: nn.Module, shape: Shape) -> str:
    """Words where two networks of one function, of different seeds, differ by more than state dicts; or "".

    They are left as they were.
    """
    return _proof(lambda net, shape: _hidden_draws(net, other, shape), net, shape)


def _proof(problem: Callable[[nn.Module, Shape], str], net: nn.Module, shape: Shape) -> str:
    """The problem of a network; "" where its own code fails, which proves nothing: other checks name it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the user's code, which warns when it is called in earnest
        try:
            return problem(net, shape)
        except Exception as error:
            if is_device_error(error):
                raise
            return ""


def _hidden_weights(net: nn.Module, shape: Shape) -> str:
    """The problem where logits have gradients of tensors that are no parameters of the network."""
    view, images = set_mode(copy_net(net), False), trial_images(net, shape)
    ids = _other_leaves(view, images)
    with suppress(Exception):  # a program of one mode, and what the code raises in train mode
        ids |= _other_leaves(train_mode(view), images)
    if not ids:
        return ""
    places = [place for place, value in plain_objects(view) if id(value) in ids]
    return (
        f"computes with trainable tensors that are not among its parameters{_first(places)}, and so are "
        f"neither trained nor saved: {_HOLD}, and tensors as nn.Parameter (or set requires_grad_(False) "
        "where they are to stay as they are)"
    )


def _other_leaves(net: nn.Module, images: Tensor) -> set[int]:
    """The ids of leaves that are not the network's own, and the same in two passes: forward may make some."""
    own = {id(tensor) for tensor in (*net.parameters(), *net.buffers())}
    first = [leaf for leaf in trial_leaves(net, images) if id(leaf) not in own]
    return {id(leaf) for leaf in first} & set(map(id, trial_leaves(net, images))) if first else set()


def _unswitched_layers(net: nn.Module, shape: Shape) -> str:
    view, images = set_mode(copy_net(net), False), trial_images(net, shape)
    with mode_reads() as read:
        logits = trial_logits(view, images)
    own = set(map(id, view.modules()))
    foreign = [module for module in read if id(module) not in own and module.training]
    if not foreign or not _same(logits, trial_logits(view, images)):
        return ""
    try:
        for module in foreign:
            module.training = False
        if _same(logits, trial_logits(view, images)):
            return ""
    finally:
        for module in foreign:
            module.training = True
    places = [place for place, value in plain_objects(view) if any(value is module for module in foreign)]
    kinds = ", ".join(sorted({type(module).__name__ for module in foreign}))
    return (
        f"computes with layers that its eval() does not reach{_first(places)}, so that "
        f"they stay in train mode ({kinds}): {_HOLD}, and let functions read the mode of the module they get"
    )


def _hidden_statistics(net: nn.Module, shape: Shape) -> str:
    """The problem where a training changes what the state dict does not hold."""
    twin, images = train_mode(copy_net(net)), trial_images(net, shape)
    for _ in range(2):
        trial_leaves(twin, images)  # with a graph, as in training
    places = _outside(twin, train_mode(copy_net(net)), images)
    if places is None:
        return ""
    return (
        f"changes in training by values that its state dict does not hold{_first(places)}, so that attacks "
        "and files would miss them: keep them in buffers, by register_buffer"
    )


def _hidden_draws(net: nn.Module, other: nn.Module, shape: Shape) -> str:
    places = _outside(copy_net(net), copy_net(other), trial_images(net, shape))
    if places is None:
        return ""
    return (
        f"draws values that its state dict does not hold{_first(places)}, so that a network of its file has "
        "others: keep them in buffers, by register_buffer, or draw them with a generator of their own"
    )


def _outside(net: nn.Module, other: nn.Module, images: Tensor) -> list[str] | None:
    """Where two networks differ when one has the state dict of the other; None where they do not.

    It must be seen in their logits. Both are changed.
    """
    other.load_state_dict(net.state_dict())
    set_mode(net, False)
    set_mode(other, False)
    logits = trial_logits(net, images)
    if _same(logits, trial_logits(other, images)) or not _same(logits, trial_logits(net, images)):
        return None
    others = dict(plain_objects(other))
    return [place for place, value in plain_objects(net) if _differ(value, others.get(place))]


def _same(logits: Tensor, others: Tensor) -> bool:
    # far below what a statistic of small momentum changes, above the rounding of a GPU's kernels
    tolerance = 1e-5 * float(logits.abs().max())
    return logits.shape == others.shape and torch.allclose(logits, others, rtol=0, atol=tolerance)


def _differ(value: object, other: object) -> bool:
    """Whether tensors, arrays or numbers differ."""
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        return value.shape != other.shape or not torch.equal(value, other)
    if isinstance(value, np.ndarray):
        return not np.array_equal(value, np.asarray(other))
    return isinstance(value, (Tensor, int, float)) and value is not other and value != other


def _first(places: list[str]) -> str:
    """The first of some places in brackets; "" where none is known."""
    return f" ({', '.join(places[:3])}{', ...' if len(places) > 3 else ''})" if places else ""
