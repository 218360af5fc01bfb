"""Tensors with many zeros in less room: a bit for each entry, and the values of those that are not zero."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

Shapes = dict[str, list[int]]
"""The shapes of packed tensors by name."""

_BITS, _VALUES = "packed/bits/", "packed/values/"


def pack(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Shapes]:
    """The tensors, with those in packed form that are smaller so; and the shapes of these.

    An entry counts as zero where all its bits are, so that -0.0 is kept.
    """
    stored: dict[str, Tensor] = {}
    shapes: Shapes = {}
    for name, tensor in tensors.items():
        kept = _nonzero(tensor)
        count = int(kept.sum())
        if -(-kept.numel() // 8) + count * tensor.element_size() >= tensor.nbytes:
            stored[name] = tensor
            continue
        stored[_BITS + name] = torch.from_numpy(np.packbits(kept.numpy()))
        stored[_VALUES + name] = tensor.reshape(-1)[kept].clone()
        shapes[name] = list(tensor.shape)
    return stored, shapes


def unpack(stored: Mapping[str, Tensor], shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """The tensors that `pack` was given. Raises ValueError for parts that do not fit together."""
    prefixes = _BITS, _VALUES
    tensors = {name: value for name, value in stored.items() if not (shapes and name.startswith(prefixes))}
    for name, shape in shapes.items():
        bits, values = stored.get(_BITS + name), stored.get(_VALUES + name)
        n = int(np.prod(shape, dtype=np.int64))
        if bits is None or values is None or bits.dtype != torch.uint8 or bits.shape != (-(-n // 8),):
            raise ValueError(f"{name} is not whole")
        kept = torch.from_numpy(np.unpackbits(bits.numpy(), count=n).astype(bool))
        if values.shape != (int(kept.sum()),):
            raise ValueError(f"{name} has {len(values)} values for {int(kept.sum())} entries")
        flat = torch.zeros(n, dtype=values.dtype)
        flat[kept] = values
        tensors[name] = flat.reshape(shape)
    return tensors


def _nonzero(tensor: Tensor) -> Tensor:
    """Which entries have a bit that is set, as a flat bool tensor."""
    if not tensor.numel():
        return torch.zeros(0, dtype=torch.bool)
    return tensor.contiguous().reshape(-1, 1).view(torch.uint8).ne(0).any(1)
