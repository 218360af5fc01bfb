"""What a stage that is under way keeps on disk, so that one that was stopped goes on where it was."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor

from robust_tickets.base import signals
from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import CheckpointInterval
from robust_tickets.runs import tensor_file

T = TypeVar("T")

STATES = "state"
"""The folder of a stage's states, beside its artefacts."""

_KEPT = 2
_NAMES = "step-*.safetensors"


@dataclass(frozen=True)
class StateFormat(Generic[T]):
    """How a state becomes a file: what it is called, and its tensors and plain values, there and back.

    read: raises any error of a value that is missing, or of another type.
    """

    kind: str
    write: Callable[[T], tuple[dict[str, Tensor], dict[str, Any]]]
    read: Callable[[dict[str, Tensor], dict[str, Any]], T]


@dataclass
class Checkpointer(Generic[T]):
    """The last two states of one stage: `<folder>/<prefix>step-<n>.safetensors`.

    of: what a state belongs to, plain values; others are passed over, as are damaged ones, which is said.
    """

    folder: Path
    form: StateFormat[T]
    of: dict[str, Any]
    every: CheckpointInterval
    log: Callable[[str], None]
    prefix: str = ""
    timed: Callable[[], AbstractContextManager[None]] = nullcontext
    """whose account the keeping of a state goes to"""
    _last: float = field(default_factory=time.monotonic)
    _step: int | None = None

    def newest(self) -> T | None:
        """The newest state that is whole, if there is any."""
        for file in sorted(self.folder.glob(self.prefix + _NAMES), reverse=True):
            try:
                tensors, meta = tensor_file.load(file, self.form.kind)
                if meta.get("of") == self.of:
                    return self._read(file, tensors, meta)
            except InputError as error:
                self.log(f"passed over: {error}")
        return None

    def _read(self, file: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> T:
        try:
            return self.form.read(tensors, meta)
        except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise InputError(
                f"{file} is no whole {self.form.kind} ({type(error).__name__}: {error})"
            ) from None

    def offer(self, step: int, make: Callable[[], T], now: bool = False) -> None:
        """Keep the state if it is time, or if the process was asked to stop, which it then does.

        now: keep it whatever the time, unless none are to be kept.
        """
        if self._step is None:
            self._step = step
        minutes, steps = (time.monotonic() - self._last) / 60, step - self._step
        due = 0 < self.every.minutes <= minutes or 0 < self.every.steps <= steps
        if due or signals.stop_requested() or (now and self.every != CheckpointInterval(0, 0)):
            with self.timed():
                self.keep(step, make())
        signals.raise_if_requested()

    def keep(self, step: int, state: T) -> None:
        """Write the state before a step, and remove all others but the one before it."""
        tensors, meta = self.form.write(state)
        file = self.folder / f"{self.prefix}step-{step:08}.safetensors"
        tensor_file.save(file, self.form.kind, tensors, {**meta, "of": self.of})
        files = sorted(self.folder.glob("*" + _NAMES))
        here = files.index(file)
        # those after it are damaged, or of something else
        for other in (*files[: max(0, here + 1 - _KEPT)], *files[here + 1 :]):
            other.unlink(missing_ok=True)
        self._last, self._step = time.monotonic(), step


def remove_states(folder: Path) -> None:
    """Remove all states of a folder, as what they were kept for is done."""
    for file in folder.glob("*" + _NAMES):
        file.unlink(missing_ok=True)
    for place in (folder, *(parent for parent in folder.parents if parent.name == STATES)):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
