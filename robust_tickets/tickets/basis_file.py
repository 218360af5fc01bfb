"""The basis of a ticket in its file: what it is made from, or its vectors where those were trained."""

from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.basis import Basis, Factor, Kind, make_basis
from robust_tickets.runs import tensor_file


def basis_record(basis: Basis) -> dict[str, Any]:
    """Its plain values."""
    return {"kind": basis.kind, "axes": basis.axes, "seed": basis.seed, "layers": list(basis.factors)}


def basis_tensors(basis: Basis) -> dict[str, Tensor]:
    """Its vectors, where no seed gives them: `basis/<parameter>/<number>`."""
    if not basis.is_of_trained_weights:
        return {}
    return {
        f"basis/{name}/{number}": factor.matrix
        for name, factors in basis.factors.items()
        for number, factor in enumerate(factors)
    }


def load_basis(record: object, tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> Basis:
    """The basis that a ticket's file has.

    record: as `basis_record` gave it; tensors: of the file; shapes: of the weights.

    Raises InputError or KeyError where it is damaged.
    """
    if not isinstance(record, dict) or record.get("kind") not in get_args(Kind):
        raise InputError("its basis is unknown")
    kind, axes = record["kind"], tensor_file.field(record, "axes", str)
    seed, layers = tensor_file.field(record, "seed", int), tensor_file.field(record, "layers", list)
    if not kind.startswith("svd"):
        return make_basis(kind, axes, {name: torch.empty(shapes[name]) for name in layers}, seed)  # type: ignore[arg-type]
    factors = {}
    for name in layers:
        left, right = (tensors[f"basis/{name}/{number}"] for number in range(2))
        shape = shapes[name]
        rank = min(shape[0], shape[1:].numel())
        if left.shape != (rank, shape[0]) or right.shape != (rank, shape[1:].numel()):
            raise InputError(f"the basis of {name} does not fit its shape {tuple(shape)}")
        factors[name] = (Factor(0, 0, left), Factor(1, len(shape) - 1, right))
    return Basis(kind, axes, seed, factors)  # type: ignore[arg-type]
