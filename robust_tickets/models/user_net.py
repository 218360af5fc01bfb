"""Nets of the user's own: from a function handed over, or named as module:function."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.fold import copy_net
from robust_tickets.models.init import initialise
from robust_tickets.models.registry import ModelSpec, build

NetFactory = Callable[[], nn.Module]
"""A function that makes a net: images (N, C, H, W) in [0, 1] to logits (N, classes)."""


def import_function(name: str) -> NetFactory:
    """The function called `module:function`, the module sought in the working directory too.

    To import a module runs its code, so the name must come from the user and never from a file that somebody
    passed on. Raises InputError where there is none.
    """
    module_name, _, path = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a module may raise anything while it is imported, or exit
        raise InputError(
            f"{name} cannot be used: importing {module_name} failed ({type(error).__name__}: {error}); run "
            "from the folder that holds it, or mend it"
        ) from None
    make: object = found
    for part in path.split("."):
        if not part or not hasattr(make, part):
            # its place, as another module of that name may stand before the one that was meant
            place = getattr(found, "__file__", None) or "a module of Python's own"
            raise InputError(
                f"{name} cannot be used: {module_name} ({place}) has no {path or 'function named'}; check "
                "the name, as module:function"
            )
        make = getattr(make, part)
    if isinstance(make, nn.Module) or not callable(make):
        raise InputError(
            f"{name} cannot be used: it is a {type(make).__name__}, expected a function that returns the net"
        )
    return make


def make_net(spec: ModelSpec, make: NetFactory | None, *, seed: int, train: bool = True) -> nn.Module:
    """A fresh net: the registry's that the spec names, or the user's own where `make` makes it."""
    return build(spec, seed=seed) if make is None else build_user_net(make, spec, seed=seed, train=train)


def build_user_net(make: NetFactory, spec: ModelSpec, *, seed: int, train: bool = True) -> nn.Module:
    """A fresh net of the user's own; the same seed gives the same weights.

    train: whether it is to be trained. Raises InputError where the function fails, gives no net, or one whose
    logits do not fit the classes, or that cannot be trained where it is to be.
    """
    with use_seed(seed):
        with _answered(
            f"{spec.name} failed to make a net", "it is called without arguments and returns an nn.Module"
        ):
            net = make()
        if not isinstance(net, nn.Module):
            raise InputError(
                f"{spec.name} returned a {type(net).__name__}, expected an nn.Module: return the net itself"
            )
        _check_weights(net, spec.name)
        check_logits(net, spec)  # first, and in here: lazy layers draw their weights when they are first run
        initialise(net, spec.init)
        if train:
            _check_trains(net, spec)
        return net


@contextmanager
def _answered(failed: str, mend: str) -> Iterator[None]:
    """Turn whatever the user's code raises into an InputError: what failed, why, and how to mend it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{failed} ({type(error).__name__}: {error}): {mend}") from error


def _check_weights(net: nn.Module, name: str) -> None:
    """Raise InputError for a net with nothing to train, weights set by hooks, or a state of non-tensors."""
    if not trainable_parameters(net):
        raise InputError(
            f"{name} gives a net without a parameter to train: let requires_grad be True for some of them"
        )
    for key, value in net.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise InputError(
                f"{name} gives a net whose state dict has a {type(value).__name__} ({key}), and files hold "
                "tensors alone: keep it out of the state dict, or make it a buffer"
            )
    for layer, module in net.named_modules():
        computed = [key for key, value in vars(module).items() if isinstance(value, torch.Tensor)]
        if module._forward_pre_hooks and computed:  # parametrisations need no hook, and can be worked with
            raise InputError(
                f"{name} gives a net in which the {computed[0]} of {layer or 'the net'!r} is computed by a "
                "hook, as torch.nn.utils.prune does it: make it a parameter again, by "
                f"torch.nn.utils.prune.remove(layer, {computed[0]!r}), before the net is returned"
            )


@torch.no_grad()
def check_logits(net: nn.Module, spec: ModelSpec) -> None:
    """Raise InputError unless the net gives logits (N, classes) for images (N, C, H, W) of the spec.

    The net is left as it was, but for what its own code counts in eval mode.
    """
    device = next((parameter.device for parameter in net.parameters()), None)
    images = torch.zeros((2, *spec.shape), device=device)
    modes = [(module, module.training) for module in net.modules()]
    failed = f"{spec.name} fails on images of shape {tuple(images.shape)}"
    try:
        with _answered(failed, "the net must take images (N, C, H, W) in [0, 1] of this data set"):
            logits = net.eval()(images)  # not as attacks look at a net: lazy layers have no parameters yet
    finally:
        for module, mode in modes:
            module.training = mode
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, spec.classes):
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else f"a {type(logits).__name__}"
        raise InputError(
            f"{spec.name} gives {got} for two images, expected logits of shape (2, {spec.classes}): the data "
            f"have {spec.classes} classes, so let the last layer have as many outputs"
        )


def _check_trains(net: nn.Module, spec: ModelSpec) -> None:
    """Raise InputError unless a step of training gives logits, and gradients to images and weights."""
    view = copy_net(net).train()
    images = torch.rand((2, *spec.shape)).requires_grad_()
    with _answered(
        f"{spec.name} cannot take a step of training",
        "it must run in training mode, and let gradients through from logits to images and weights",
    ):
        logits = view(images)
        if not isinstance(logits, torch.Tensor):
            raise InputError(
                f"{spec.name} gives a {type(logits).__name__} in training mode, expected logits (N, "
                "classes): switch auxiliary outputs off"
            )
        gradient = torch.autograd.grad(logits.sum(), [images, *trainable_parameters(view)], allow_unused=True)
    if gradient[0] is None or all(found is None for found in gradient[1:]):
        lacking = "the images" if gradient[0] is None else "its weights"
        raise InputError(
            f"{spec.name} gives no gradient to {lacking}: leave detach() and no_grad() out of its forward"
        )


def trainable_parameters(net: nn.Module) -> list[nn.Parameter]:
    """The parameters that are not frozen."""
    return [parameter for parameter in net.parameters() if parameter.requires_grad]


def function_name(net: nn.Module | NetFactory) -> str:
    """What records call a net of the user's own: module:function, or module:class for a module."""
    what = type(net) if isinstance(net, nn.Module) else net
    module, path = getattr(what, "__module__", None), getattr(what, "__qualname__", None)
    # a lambda, a local function or a partial has no name that could be imported
    if not isinstance(module, str) or not isinstance(path, str):
        return "own:net"
    words = [*module.split("."), *path.split(".")]
    return f"{module}:{path}" if all(word.isidentifier() for word in words) else "own:net"
