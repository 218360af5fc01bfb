"""Nets of the user's own: from a function handed over, or named as module:function."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from robust_tickets.errors import InputError
from robust_tickets.models.init import initialise
from robust_tickets.models.registry import ModelSpec

Make = Callable[[], nn.Module]
"""A function that makes a net: images (N, C, H, W) in [0, 1] to logits (N, classes)."""


def imported(name: str) -> Make:
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
    except Exception as error:  # a module may raise anything while it is imported
        raise InputError(
            f"{name} cannot be used: importing {module_name} failed ({type(error).__name__}: {error}); run "
            "from the folder that holds it, or mend it"
        ) from None
    make: object = found
    for part in path.split("."):
        if not hasattr(make, part):
            raise InputError(f"{name} cannot be used: {module_name} has no {path}; check the name")
        make = getattr(make, part)
    if isinstance(make, nn.Module) or not callable(make):
        raise InputError(
            f"{name} cannot be used: it is a {type(make).__name__}, expected a function that returns the net"
        )
    return make


def build_own(make: Make, spec: ModelSpec, *, seed: int) -> nn.Module:
    """A fresh net of the user's own; the same seed gives the same weights.

    Raises InputError where the function fails, gives no net, or one whose logits do not fit the classes.
    """
    # layers draw from the global generator: borrow it, and give it back as it was
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            net = make()
        except Exception as error:  # the user's code may raise anything
            raise InputError(
                f"{spec.name} failed to make a net ({type(error).__name__}: {error}): it is called without "
                "arguments and returns an nn.Module"
            ) from error
        if not isinstance(net, nn.Module):
            raise InputError(
                f"{spec.name} returned a {type(net).__name__}, expected an nn.Module: return the net itself"
            )
        initialise(net, spec.init)
    _check_logits(net, spec)
    return net


@torch.no_grad()
def _check_logits(net: nn.Module, spec: ModelSpec) -> None:
    modes = [(module, module.training) for module in net.modules()]
    images = torch.zeros((2, *spec.shape))
    try:
        logits = net.eval()(images)
    except Exception as error:  # the user's code may raise anything
        raise InputError(
            f"{spec.name} fails on images of shape {tuple(images.shape)} ({type(error).__name__}: {error}): "
            "the net must take images (N, C, H, W) in [0, 1] of this data set"
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, spec.classes):
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise InputError(
            f"{spec.name} gives {got} for two images, expected logits of shape (2, {spec.classes}): the data "
            f"have {spec.classes} classes, so let the last layer have as many outputs"
        )


def own_name(net: nn.Module | Make) -> str:
    """What records call a net of the user's own: module:function, or module:class for a module."""
    what = type(net) if isinstance(net, nn.Module) else net
    name = f"{getattr(what, '__module__', None)}:{getattr(what, '__qualname__', None)}"
    # a lambda, a local function or a partial has no name that could be imported
    return name if name.replace(".", "").replace(":", "").replace("_", "").isalnum() else "own:net"
