"""How a training and an evaluation that are under way become files."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attacks.bookmark import State
from robust_tickets.runs import tensor_file
from robust_tickets.stages.checkpointer import StateFormat
from robust_tickets.training.state import TrainingState

Tensors = dict[str, Tensor]
Plain = dict[str, Any]

_WEIGHTS = ("net", "moments", "best", "early", "watched")


def _training_out(state: TrainingState) -> tuple[Tensors, Plain]:
    tensors = {"loss_sum": state.loss_sum}
    for part in _WEIGHTS:
        tensors |= {f"{part}/{name}": value for name, value in (getattr(state, part) or {}).items()}
    of_validation, levels = _levels_out(state.validation)
    meta = {
        "step": state.step,
        "best_epoch": state.best_epoch,
        "early": state.early is not None,
        "history": json.dumps(state.history),  # in the order of its fields, which meta does not keep
        "points": json.dumps(state.points),
        "warnings": list(state.warnings),
        "ledger": state.ledger,
    }
    return tensors | of_validation, meta | levels


def _training_in(tensors: Tensors, meta: Plain) -> TrainingState:
    parts: dict[str, Tensors] = {part: {} for part in _WEIGHTS}
    for key, value in tensors.items():
        part, _, name = key.partition("/")
        if part in parts:
            parts[part][name] = value
    return TrainingState(
        step=tensor_file.field(meta, "step", int),
        net=parts["net"],
        moments=parts["moments"],
        best=parts["best"],
        best_epoch=tensor_file.field(meta, "best_epoch", int),
        early=parts["early"] if meta["early"] else None,
        loss_sum=tensors["loss_sum"],
        history=[{**record, "epoch": int(record["epoch"])} for record in json.loads(meta["history"])],
        warnings=tuple(map(str, meta["warnings"])),
        ledger=tensor_file.field(meta, "ledger", dict),
        validation=_levels_in(tensors, meta),
        points=[{**record, "step": int(record["step"])} for record in json.loads(meta.get("points", "[]"))],
        watched=parts["watched"],
    )


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


TRAINING = StateFormat("training state", _training_out, _training_in)
EVALUATION = StateFormat("evaluation state", _levels_out, _levels_in)
"""The levels of an evaluation's bookmark, outermost first."""
