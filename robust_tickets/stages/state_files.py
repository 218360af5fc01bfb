"""How an evaluation that is under way becomes a file."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attacks.bookmark import State
from robust_tickets.stages.checkpointer import StateFormat

Tensors = dict[str, Tensor]
Plain = dict[str, Any]


def _levels_out(levels: Sequence[State]) -> tuple[Tensors, Plain]:
    """A bookmark's levels: tensors as `level <n>/<name>`, the rest as plain values."""
    tensors = {
        f"level {number}/{name}": value.clone()  # some are one tensor under two names, which files refuse
        for number, level in enumerate(levels)
        for name, value in level.items()
        if isinstance(value, Tensor)
    }
    plain = [{k: v for k, v in level.items() if not isinstance(v, Tensor)} for level in levels]
    # files hold tensors row by row, and kernels round otherwise where channels come last
    last = [name for name, value in tensors.items() if _channels_last(value)]
    return tensors, {"levels": plain, "channels_last": last}


def _levels_in(tensors: Tensors, meta: Plain) -> list[State]:
    levels = [dict(level) for level in meta.get("levels", [])]  # the first files have none
    for key, value in tensors.items():
        place, _, name = key.partition("/")
        if place.startswith("level "):
            if key in meta["channels_last"]:
                value = value.contiguous(memory_format=torch.channels_last)
            levels[int(place.removeprefix("level "))][name] = value
    return levels


def _channels_last(value: Tensor) -> bool:
    return (
        value.ndim == 4
        and value.is_contiguous(memory_format=torch.channels_last)
        and not value.is_contiguous()
    )


EVALUATION = StateFormat("evaluation state", _levels_out, _levels_in)
"""The levels of an evaluation's bookmark, outermost first."""
