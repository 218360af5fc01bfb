"""Masks that lie beside the weights in a file that others wrote, which nothing applies."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from robust_tickets.models.weights import StateDict

_DEEPEST = 6  # containers around a mask
_MASK = re.compile(r"(^|[^a-z])masks?([^a-z]|$)")


def unused_masks(content: Any, state: StateDict) -> list[str]:
    """The keys of masks in a file's content that prune weights which are not zero.

    state: the weights that are used, by the network's names. A mask is a tensor of zeros and ones behind a
    key with the word mask; of one that belongs to no weight by its name, its zeros alone can be seen.
    """
    keys: list[str] = []
    for path, name, mask in _masks(content, ()):
        is_buffer = path.endswith(name) and any(name == n or name.endswith(f".{n}") for n in state)
        if is_buffer or (path.endswith(name) and name.endswith("_mask")):  # `weight_mask` is applied
            continue
        weight = next((w for n, w in state.items() if _is_mask_of(name, n) and w.shape == mask.shape), None)
        pruned = mask == 0 if weight is None else (mask == 0) & (weight != 0)
        if bool(pruned.any()) and path not in keys:
            keys.append(path)
    return keys


def is_mask(key: str, state: StateDict) -> bool:
    """Whether a state dict of zeros and ones behind such a key is a mask, and no weights."""
    return bool(_MASK.search(key.lower())) and all(map(_is_binary, state.values()))


def _masks(content: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str, Tensor]]:
    """The masks in a content: the first key with the word mask, the name, the tensor."""
    if len(path) > _DEEPEST:
        return
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _masks(value, (*path, str(key)))
    elif isinstance(content, list | tuple):
        for i, value in enumerate(content):
            yield from _masks(value, (*path, str(i)))
    elif isinstance(content, Tensor):
        places = [i for i, key in enumerate(path) if _MASK.search(key.lower())]
        if places and _is_binary(content):
            yield "/".join(path[: places[0] + 1]), path[-1], content


def _is_binary(tensor: Tensor) -> bool:
    return bool(((tensor == 0) | (tensor == 1)).all())


def _is_mask_of(name: str, weight: str) -> bool:
    """Whether a mask's name is that of a weight, as `module.fc.weight` or `fc.weight_mask` or `fc`."""
    bare = re.sub(r"(\.weight)?[._]?masks?$|\.weight$", "", name)
    stem = weight.removesuffix(".weight")
    return bare == stem or bare.endswith(f".{stem}")
