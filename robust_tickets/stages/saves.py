"""Training states on disk, so that a stage that was stopped goes on where it was."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robust_tickets import artefact, stops
from robust_tickets.errors import InputError
from robust_tickets.training import TrainingState

KIND = "training state"
STATES = "state"
"""The folder of a stage's training states, beside its artefacts."""

_KEPT = 2


@dataclass(frozen=True)
class Every:
    """How often a state is kept: whenever so many minutes, or so many steps, have passed; 0: never."""

    minutes: float = 1.0
    steps: int = 0


@dataclass
class Saves:
    """The last two training states of one training: `<folder>/<prefix>step-<n>.safetensors`.

    of: what a state belongs to, plain values; others are passed over, as are damaged ones, which is said.
    """

    folder: Path
    of: dict[str, Any]
    every: Every
    say: Callable[[str], None]
    prefix: str = ""
    _last: float = field(default_factory=time.monotonic)
    _step: int | None = None

    def newest(self) -> TrainingState | None:
        """The newest state that is whole, if there is any."""
        for file in sorted(self.folder.glob(f"{self.prefix}step-*.safetensors"), reverse=True):
            try:
                tensors, meta = artefact.load(file, KIND)
                if meta.get("of") != self.of:
                    continue
                return _state(tensors, meta, file)
            except InputError as error:
                self.say(f"passed over, the state before it is taken: {error}")
        return None

    def offer(self, step: int, make: Callable[[], TrainingState]) -> None:
        """Keep the state if it is time, or if the process was asked to stop, which it then does."""
        if self._step is None:
            self._step = step
        minutes, steps = (time.monotonic() - self._last) / 60, step - self._step
        due = 0 < self.every.minutes <= minutes or 0 < self.every.steps <= steps
        if due or stops.asked():
            self.keep(make())
        stops.check()

    def keep(self, state: TrainingState) -> None:
        """Write the state, and remove all but the last two."""
        artefact.save(
            self.folder / f"{self.prefix}step-{state.step:08}.safetensors", KIND, *_parts(state, self.of)
        )
        for file in sorted(self.folder.glob("*step-*.safetensors"))[:-_KEPT]:
            file.unlink(missing_ok=True)
        self._last, self._step = time.monotonic(), state.step


def clear(folder: Path) -> None:
    """Remove all states, as what they were kept for is done."""
    for file in folder.glob("*step-*.safetensors"):
        file.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


_WEIGHTS = ("net", "moments", "best", "early")


def _parts(state: TrainingState, of: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    tensors = {"loss_sum": state.loss_sum}
    for part in _WEIGHTS:
        tensors |= {f"{part}/{name}": value for name, value in (getattr(state, part) or {}).items()}
    meta = {
        "of": of,
        "step": state.step,
        "best_epoch": state.best_epoch,
        "early": state.early is not None,
        "history": json.dumps(state.history),  # in the order of its fields, which meta does not keep
        "warnings": list(state.warnings),
        "ledger": state.ledger,
    }
    return tensors, meta


def _state(tensors: dict[str, Any], meta: dict[str, Any], file: Path) -> TrainingState:
    """Raises InputError where something is missing or of another type."""
    try:
        return _put_together(tensors, meta)
    except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise InputError(f"{file} is no whole {KIND} ({type(error).__name__}: {error})") from None


def _put_together(tensors: dict[str, Any], meta: dict[str, Any]) -> TrainingState:
    parts: dict[str, dict[str, Any]] = {part: {} for part in _WEIGHTS}
    for key, value in tensors.items():
        part, _, name = key.partition("/")
        if part in parts:
            parts[part][name] = value
    return TrainingState(
        step=artefact.field(meta, "step", int),
        net=parts["net"],
        moments=parts["moments"],
        best=parts["best"],
        best_epoch=artefact.field(meta, "best_epoch", int),
        early=parts["early"] if meta["early"] else None,
        loss_sum=tensors["loss_sum"],
        history=[{**record, "epoch": int(record["epoch"])} for record in json.loads(meta["history"])],
        warnings=tuple(map(str, meta["warnings"])),
        ledger=artefact.field(meta, "ledger", dict),
    )
