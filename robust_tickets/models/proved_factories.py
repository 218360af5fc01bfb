"""Which functions of the user have given a network that was proved sound, so that each is proved once.

The proofs take a dozen passes, and a comparison builds the network of each arm and seed anew.
"""

import weakref
from collections.abc import Callable, Hashable

from torch import nn

_proved: dict[int, tuple[weakref.ref[Callable[[], nn.Module]], set[Hashable]]] = {}  # by the function's id


def is_proved(make: Callable[[], nn.Module], net: nn.Module, about: Hashable) -> bool:
    """Whether the function has given a network built like this one, which was proved."""
    function, keys = _proved.get(id(make), (lambda: None, set()))
    return function() is make and _key(net, about) in keys


def note_proved(make: Callable[[], nn.Module], net: nn.Module, about: Hashable) -> None:
    """Note that a network that the function gave was proved; about: what the proof depends on besides."""
    try:
        function = weakref.ref(make, lambda _, key=id(make): _proved.pop(key, None))  # type: ignore[misc]
    except TypeError:  # of a kind that cannot be referred to
        return
    _proved.setdefault(id(make), (function, set()))[1].add(_key(net, about))


def _key(net: nn.Module, about: Hashable) -> Hashable:
    """What two networks of the same build have in common."""
    modules = [
        (name, type(m), getattr(m, "training", None), len(m._forward_hooks), len(m._forward_pre_hooks))
        for name, m in net.named_modules()
    ]
    tensors = [
        (name, tuple(t.shape), t.dtype, t.requires_grad)
        for name, t in (*net.named_parameters(), *net.named_buffers())
    ]
    return about, tuple(modules), tuple(tensors)
