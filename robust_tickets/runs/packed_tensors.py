"""Tensors with many zeros in less room: a bit for each entry, and the values of those that are not zero.

Pruned weights may be -0.0, as a negative number times zero is: such a tensor has the signs of its zeros too.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

Shapes = dict[str, list[int]]
"""The shapes of packed tensors by name."""

_KEPT, _VALUES, _SIGNS = "packed/kept/", "packed/values/", "packed/signs/"


def pack(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Shapes]:
    """The tensors, with those in packed form that are smaller so; and the shapes of these."""
    stored: dict[str, Tensor] = {}
    shapes: Shapes = {}
    for name, tensor in tensors.items():
        if tensor.is_complex():  # whose zeros have two signs
            stored[name] = tensor
            continue
        flat = tensor.reshape(-1)
        kept = flat != 0
        parts = {_KEPT + name: _to_bits(kept), _VALUES + name: flat[kept].clone()}
        if tensor.is_floating_point() and bool(flat[~kept].signbit().any()):
            parts[_SIGNS + name] = _to_bits(flat[~kept].signbit())
        if sum(part.nbytes for part in parts.values()) < tensor.nbytes:
            shapes[name] = list(tensor.shape)
            stored |= parts
        else:
            stored[name] = tensor
    return stored, shapes


def unpack(stored: Mapping[str, Tensor], shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """The tensors that `pack` was given. Raises ValueError for parts that do not fit together."""
    parts = {prefix + name for name in shapes for prefix in (_KEPT, _VALUES, _SIGNS)}
    tensors = {name: value for name, value in stored.items() if name not in parts}
    for name, shape in shapes.items():
        if _KEPT + name not in stored or _VALUES + name not in stored:
            raise ValueError(f"{name} is not whole")
        values = stored[_VALUES + name]
        flat = torch.zeros(int(np.prod(shape, dtype=np.int64)), dtype=values.dtype)
        kept = _from_bits(stored[_KEPT + name], len(flat), name)
        if values.shape != (int(kept.sum()),):
            raise ValueError(f"{name} has {len(values)} values for {int(kept.sum())} entries")
        flat[kept] = values
        if _SIGNS + name in stored:
            zeros = (~kept).nonzero().squeeze(1)
            flat[zeros[_from_bits(stored[_SIGNS + name], len(zeros), name)]] = -0.0
        tensors[name] = flat.reshape(shape)
    return tensors


def _to_bits(flags: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits(flags.numpy()))


def _from_bits(bits: Tensor, count: int, name: str) -> Tensor:
    """So many flags, bool (count,)."""
    if bits.dtype != torch.uint8 or bits.shape != (-(-count // 8),):
        raise ValueError(f"{name} has not one bit for each entry")
    return torch.from_numpy(np.unpackbits(bits.numpy(), count=count).astype(bool))
