"""The user's own networks, from a function or its name, module:function."""

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.jit._trace import TopLevelTracedModule

from robust_tickets.attacks.network import WRITES, hint_for, mode_guard, module_modes, set_mode, unwritten
from robust_tickets.base import paths
from robust_tickets.base.errors import InputError
from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.independent_copies import check_copies
from robust_tickets.models.init import initialise, seeded_like_torch
from robust_tickets.models.modes import train_mode
from robust_tickets.models.proved_factories import is_proved, note_proved
from robust_tickets.models.registry import ModelSpec, build
from robust_tickets.models.whole_state import check_whole_state

NetFactory = Callable[[], nn.Module]
"""A function that builds a network: images (N, C, H, W) in [0, 1] to logits (N, classes)."""


def import_function(name: str) -> NetFactory:
    """Import `module:function`; the module may be in the working directory, or given by its file's path.

    Importing a module runs its code, so the name must come from the user, never from a file. Raises
    InputError for a name that cannot be imported or is no function.
    """
    module_name, _, path = paths.module_name(name).partition(":")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a module may raise anything when it is imported, or exit
        raise InputError(
            f"{name} cannot be used, as importing {module_name} failed ({type(error).__name__}: {error}): "
            "fix it, or run in its folder"
        ) from None
    make: object = module
    for part in path.split("."):
        if not part or not hasattr(make, part):
            # with its file, as another module may have the same name
            file = getattr(module, "__file__", None) or "a module of Python's own"
            raise InputError(
                f"{name} cannot be used, as {module_name} ({file}) has no {path or 'such function'}: check "
                "the name, module:function"
            )
        make = getattr(make, part)
    if isinstance(make, nn.Module) or not callable(make):
        raise InputError(f"{name} is a {type(make).__name__}: name a function that returns the network")
    return make


def make_net(spec: ModelSpec, make: NetFactory | None, *, seed: int, train: bool = True) -> nn.Module:
    """Build the registry's network of the spec, or the user's own by `make`, with initial weights."""
    return build(spec, seed=seed) if make is None else build_user_net(make, spec, seed=seed, train=train)


def build_user_net(make: NetFactory, spec: ModelSpec, *, seed: int, train: bool = True) -> nn.Module:
    """Build a network of the user's own; the same seed gives the same weights.

    train: whether it must be possible to train it.
    Raises InputError if the function fails or returns no network, or a network whose logits do not fit the
    classes or that cannot be trained.
    """
    with use_seed(seed):
        problem = f"{spec.name} failed"
        with (
            _user_errors(problem, "it is called without arguments and must return an nn.Module"),
            seeded_like_torch(seed),
        ):
            net = make()
        if not isinstance(net, nn.Module):
            raise InputError(
                f"{spec.name} returned a {type(net).__name__}, expected an nn.Module: return the network"
            )
        _check_weights(net, spec.name)
        check_logits(net, spec)  # before the init, since lazy layers have weights after a forward pass
        initialise(net, spec.init)
        if not is_proved(make, net, (spec, train)):
            if isinstance(make, NetCopies):
                check_copies(make.net, spec.name, spec.shape)  # its functions may hold it, as its copies may
            check_copies(net, spec.name, spec.shape)
            check_whole_state(net, spec.name, spec.shape)
            if train:
                _check_trains(net, spec)
            note_proved(make, net, (spec, train))
        return net


@contextmanager
def _user_errors(problem: str, fix: str) -> Iterator[None]:
    """Turn any error of the user's code into an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{problem} ({type(error).__name__}: {error}): {fix}") from error


def _check_weights(net: nn.Module, name: str) -> None:
    """Raise InputError for a network without trainable weights, or with a state that files cannot hold."""
    if not trainable_parameters(net):
        fix = "set requires_grad of some of them"
        if not any(True for _ in net.parameters()):
            fix = "hold layers in attributes, nn.ModuleList or nn.ModuleDict, not in a plain list or dict"
        raise InputError(f"{name} returns a network without trainable parameters: {fix}")
    for key, value in net.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise InputError(
                f"{name} returns a network whose state dict has a {type(value).__name__} ({key}), and files "
                "hold tensors alone: keep it out of the state dict, or make it a buffer"
            )
    for layer, module in net.named_modules():
        computed = [key for key, value in vars(module).items() if isinstance(value, torch.Tensor)]
        if module._forward_pre_hooks and computed:  # parametrisations need no hook, and are supported
            raise InputError(
                f"{name} returns a network in which a hook computes the {computed[0]} of "
                f"{layer or 'the network'!r}: before you return it, call "
                f"torch.nn.utils.prune.remove(layer, {computed[0]!r}) for torch.nn.utils.prune, and use "
                "torch.nn.utils.parametrizations for spectral and weight norm"
            )


@torch.no_grad()
def check_logits(net: nn.Module, spec: ModelSpec) -> None:
    """Raise InputError unless the network gives logits (N, classes) for images (N, C, H, W) of the spec.

    The network is left as it was, but for state that its own code changes in eval mode.
    """
    device = next((parameter.device for parameter in net.parameters()), None)
    images = torch.zeros((2, *spec.shape), device=device)
    problem = f"{spec.name} fails on images of shape {tuple(images.shape)}"
    fix = "it must take images (N, C, H, W) in [0, 1] of this data set"
    wide = next((name for name, p in net.named_parameters() if p.dtype == torch.float64), None)
    if wide:
        fix += f"; images are float32 and {wide} is float64: return net.float()"
    with mode_guard(net), _user_errors(problem, fix):
        logits = set_mode(net, False)(images)
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, spec.classes):
        is_tensor = isinstance(logits, torch.Tensor)
        got = tuple(logits.shape) if is_tensor else f"an output of type {type(logits).__name__}"
        fix = "give the last layer one output a class" if is_tensor else "return the logits alone"
        raise InputError(
            f"{spec.name} gives {got} for two images, expected logits of shape (2, {spec.classes}): "
            f"{fix}{hint_for(logits)}"
        )


def _check_trains(net: nn.Module, spec: ModelSpec) -> None:
    """Raise InputError unless training mode gives logits, with gradients of images and weights.

    And for a network that writes into its images, in training mode or eval mode: a batch is used again.
    """
    view = train_mode(copy_net(net))
    device = next(view.parameters()).device
    images = torch.rand((2, *spec.shape)).to(device).requires_grad_()
    received = images.clone()
    problem = f"{spec.name} cannot be trained"
    fix = "it must run in training mode and pass gradients from logits to images and weights"
    with _user_errors(problem, fix), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the user's code, which warns when it is called in earnest
        try:
            with unwritten(view, received):
                logits = view(received)
        except InputError as error:
            raise InputError(f"{problem}: {error}") from None
        if not isinstance(logits, torch.Tensor):
            raise InputError(
                f"{spec.name} gives an output of type {type(logits).__name__} in training mode, expected "
                "logits (N, classes): switch auxiliary outputs off"
            )
        _check_untouched(received, images, spec.name)
        gradient = torch.autograd.grad(logits.sum(), [images, *trainable_parameters(view)], allow_unused=True)
        received = images.detach().clone()
        with torch.no_grad():
            set_mode(view, False)(received)
        _check_untouched(received, images, spec.name)
    if gradient[0] is None or all(part is None for part in gradient[1:]):
        target = "the images" if gradient[0] is None else "its weights"
        raise InputError(
            f"{spec.name} passes no gradient to {target}: leave detach() and no_grad() out of its forward"
        )


def _check_untouched(received: torch.Tensor, images: torch.Tensor, name: str) -> None:
    """Raise InputError if the network has written into the copy of the images that it received."""
    if received._version or not torch.equal(received, images):
        raise InputError(f"{name} cannot be trained: {WRITES}")


@dataclass(frozen=True)
class NetCopies:
    """Builds deep copies of a network, to be trained."""

    net: nn.Module

    def __call__(self) -> nn.Module:
        """A copy. Raises InputError for a program of one mode."""
        return _copy_with_modes(self.net)


def _copy_with_modes(net: nn.Module) -> nn.Module:
    """A deep copy of a network, to be trained.

    Raises InputError for a program of one mode, whose BatchNorms and dropout would stay in it unnoticed.
    """
    with mode_guard(net):
        set_mode(net, True)  # an exported program refuses it, and its copy would not
    for module, _ in module_modes(net):
        name = getattr(module, "original_name", "")  # of a layer in a traced program
        if isinstance(net, TopLevelTracedModule) and name.startswith(("BatchNorm", "Dropout")):
            raise InputError(
                f"the network is a traced program, whose {name} stays in the mode it was traced in: hand "
                "over the network that it was traced from"
            )
    return copy_net(net)


def trainable_parameters(net: nn.Module) -> list[nn.Parameter]:
    """The parameters with requires_grad."""
    return [parameter for parameter in net.parameters() if parameter.requires_grad]


def function_name(net: nn.Module | NetFactory) -> str:
    """The name of a user's network in records: module:function, or module:class for a module.

    A lambda, a local function or a partial cannot be imported and is called "own:net".
    """
    factory = type(net) if isinstance(net, nn.Module) else net
    module, path = getattr(factory, "__module__", None), getattr(factory, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(path, str):
        return "own:net"
    words = [*module.split("."), *path.split(".")]
    return f"{module}:{path}" if all(word.isidentifier() for word in words) else "own:net"
