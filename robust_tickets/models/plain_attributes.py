"""Looks into the plain attributes of a network, which are no parameters, buffers or modules of it."""

import functools
import types
import weakref
from collections import deque
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

_REGISTERED = ("_parameters", "_buffers", "_modules")
_MOST = 20_000
"""So many objects are looked at, as an attribute may lead to all of the user's program."""


def plain_objects(net: nn.Module) -> Iterator[tuple[str, object]]:
    """The objects that a network's plain attributes lead to, each with its place, as `blocks[0].weight`.

    Looks into lists, dicts, partials, closures, weak references, and the attributes of modules and other
    objects. Buffers that the state dict leaves out are among them.
    """
    own = list(net.named_modules())
    seen = {id(module) for _, module in own} | {id(tensor) for tensor in (*net.parameters(), *net.buffers())}
    places: deque[tuple[str, object]] = deque()
    for path, module in own:
        start = f"{path}." if path else ""
        for key in getattr(module, "_non_persistent_buffers_set", ()):
            yield start + key, module._buffers.get(key)
        places += [(start + key, value) for key, value in vars(module).items() if key not in _REGISTERED]
    for _ in range(_MOST):
        if not places:
            return
        path, value = places.popleft()
        if id(value) in seen or isinstance(value, (str, bytes, type, types.ModuleType)):
            continue
        if not isinstance(value, (int, float)):  # small numbers are one object in many places
            seen.add(id(value))
        yield path, value
        places += _parts(path, value)


def _parts(path: str, value: object) -> list[tuple[str, object]]:
    if isinstance(value, (Tensor, int, float)):
        return []
    if isinstance(value, Mapping):
        return [(f"{path}[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return [(f"{path}[{place}]", part) for place, part in enumerate(value)]
    if isinstance(value, functools.partial):
        return [(path, value.func), (f"{path}.args", value.args), (f"{path}.keywords", value.keywords)]
    if isinstance(value, weakref.ref):
        return [(path, value())]
    if isinstance(value, types.MethodType):
        return [(path, value.__self__), (path, value.__func__)]
    if isinstance(value, types.FunctionType):
        names = value.__code__.co_freevars
        return [(f"{path} ({n})", _content(c)) for n, c in zip(names, value.__closure__ or (), strict=True)]
    if isinstance(value, nn.Module):
        own = {k: v for k, v in vars(value).items() if k not in _REGISTERED}
        attributes = {**own, **value._parameters, **value._buffers, **value._modules}
    else:
        slots = [name for kind in type(value).__mro__ for name in _names(kind.__dict__.get("__slots__", ()))]
        attributes = {name: getattr(value, name) for name in slots if hasattr(value, name)}
        attributes |= getattr(value, "__dict__", {})
    return [(f"{path}.{key}", part) for key, part in attributes.items()]


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _names(slots: object) -> list[str]:
    return [slots] if isinstance(slots, str) else list(slots)  # type: ignore[call-overload]
