"""The states of a training on disk, from which a training that was stopped resumes."""

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from robust_tickets.base import signals
from robust_tickets.base.errors import InputError
from robust_tickets.base.progress import Progress, SilentProgress
from robust_tickets.runs import tensor_file
from robust_tickets.runs.files import remove

KIND = "training state"
_FILES_KEPT = 2
_PATTERN = "step-*.safetensors"


@dataclass
class Checkpointer:
    """Decides when a training saves its state, and keeps the last two: `<prefix>step-<n>.safetensors`.

    A state is a dictionary of plain values, tensors, and dictionaries of tensors by name.

    folder: where the files lie; None: nothing is saved.
    identity: plain values by which states of another training are recognised and passed over.
    minutes, steps: longest distance between two states; 0: no limit. With neither, only a signal saves one.
    progress: logs damaged files.
    prefix: first part of the file names.
    """

    folder: Path | None = None
    identity: dict[str, Any] = field(default_factory=dict)
    minutes: float = 1.0
    steps: int = 0
    progress: Progress = field(default_factory=SilentProgress)
    prefix: str = ""
    _time: float = field(default_factory=time.monotonic)
    _step: int | None = None
    _fallback: tuple[int, dict[str, Any]] | None = None

    def for_round(self, number: int) -> "Checkpointer":
        """The checkpointer of one round's training within a search, in the same folder."""
        identity = {**self.identity, "round": number}
        return replace(self, identity=identity, prefix=f"round-{number:03}-", _step=None, _fallback=None)

    def due(self, step: int) -> bool:
        """Whether to save before this step: after so many minutes or steps, or as a signal asks to stop."""
        if self.folder is None:
            return False
        if self._step is None:
            self._step = step
        minutes, steps = (time.monotonic() - self._time) / 60, step - self._step
        return 0 < self.minutes <= minutes or 0 < self.steps <= steps or signals.stop_requested()

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state before a step, and remove all files but this and the one before it."""
        if self.folder is None:
            return
        file = self.folder / f"{self.prefix}step-{step:08}.safetensors"
        tensors, plain = _split(state)
        tensor_file.save(file, KIND, tensors, {"state": json.dumps(plain), "identity": self.identity})
        files = sorted(self.folder.glob("*" + _PATTERN))
        place = files.index(file)
        # files of later steps are damaged, or of another training
        for other in (*files[: max(0, place + 1 - _FILES_KEPT)], *files[place + 1 :]):
            remove(other)
        self._time, self._step = time.monotonic(), step

    @property
    def saves_regularly(self) -> bool:
        """Whether states are saved now and then, not only on a signal."""
        return self.folder is not None and (self.minutes > 0 or self.steps > 0)

    def set_fallback(self, step: int, state: dict[str, Any]) -> None:
        """Remember a state before which the training was sound, for `save_fallback`."""
        self._fallback = step, state

    def save_fallback(self) -> None:
        """Save the last state that `set_fallback` was given: the training has diverged since."""
        if self._fallback is not None and self.saves_regularly:
            self.save(*self._fallback)

    def newest(self) -> dict[str, Any] | None:
        """The newest whole state of this training; None where there is none."""
        files = [] if self.folder is None else self.folder.glob(self.prefix + _PATTERN)
        for file in sorted(files, reverse=True):
            try:
                tensors, meta = tensor_file.load(file, KIND)
                if meta.get("identity") == self.identity:
                    return _join(file, tensors, meta)
            except InputError as error:
                self.progress.log(f"passed over: {error}")
        return None


def remove_states(folder: Path) -> None:
    """Remove all states in a folder, and the folder: the training that they belong to has ended."""
    for file in folder.glob("*" + _PATTERN):
        remove(file)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _split(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by `<part>` or `<part>/<name>`, and the plain values."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for part, value in state.items():
        if isinstance(value, Tensor):
            tensors[part] = value
        elif isinstance(value, dict) and all(isinstance(item, Tensor) for item in value.values()):
            tensors |= {f"{part}/{name}": item for name, item in value.items()}
        else:
            plain[part] = value
    return tensors, plain


def _join(file: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> dict[str, Any]:
    """The state that `_split` took apart. Raises InputError where the file holds none."""
    try:
        state: dict[str, Any] = dict(json.loads(meta["state"]))
        for key, value in tensors.items():
            part, separator, name = key.partition("/")
            if separator:
                state.setdefault(part, {})[name] = value
            else:
                state[part] = value
        tensor_file.field(state, "step", int)
        tensor_file.field(state, "ledger", dict)
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{file} is no whole {KIND} ({type(error).__name__}: {error})") from None
    return state
