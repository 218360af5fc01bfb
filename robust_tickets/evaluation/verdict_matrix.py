"""The verdicts of an evaluation, sample by attack, written to disk as they come."""

import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.evaluation.result import RobustnessRow
from robust_tickets.runs import files

ROBUST, BROKEN, UNKNOWN = 1, 0, -1
"""A verdict: right on the clean image and at every iterate; not so; not known yet."""

_COUNTS = ("forwards", "backwards", "source_forwards", "source_backwards", "outside")
_LARGEST = 128 << 20  # bytes of an array: ids of sixteen million samples


@dataclass
class VerdictColumn:
    """One attack's verdicts so far, and what they took.

    attack, settings: its name, and how it was built, in one line.
    verdicts: int8 (N,), ROBUST, BROKEN or UNKNOWN.
    broken_by: int8 (N,), which of the `members` of an ensemble broke a sample, -1 where none did.
    seconds: those of all its chunks.
    forwards, backwards: passes, those of the source included.
    source_forwards, source_backwards: passes of the network that a transfer attacks instead.
    outside: samples for which a third-party attack gave images outside ball or box.
    """

    attack: str
    settings: str
    verdicts: Tensor
    broken_by: Tensor
    members: list[str] = field(default_factory=list)
    seconds: float = 0.0
    forwards: int = 0
    backwards: int = 0
    source_forwards: int = 0
    source_backwards: int = 0
    outside: int = 0

    @property
    def open_rows(self) -> Tensor:
        """The samples without a verdict, as places, int64."""
        return (self.verdicts == UNKNOWN).nonzero()[:, 0]

    @property
    def source_passes(self) -> Passes:
        """The passes of the network that is attacked instead."""
        return Passes(self.source_forwards, self.source_backwards)

    @property
    def passes(self) -> Passes:
        """The passes of the network that is evaluated."""
        return Passes(self.forwards, self.backwards).minus(self.source_passes)

    def is_beginning_of(self, other: "VerdictColumn") -> bool:
        """Whether the other attack is an ensemble that runs this one's members first, in the same way."""
        n = len(self.members)
        begins = 0 < n < len(other.members) and other.members[:n] == self.members
        return begins and other.settings.startswith(f"{self.settings} ")

    def row(self) -> RobustnessRow:
        """The attack's result, when no sample is open."""
        return RobustnessRow(
            self.attack,
            self.verdicts == ROBUST,
            self.seconds,
            self.forwards,
            self.backwards,
            self.settings,
            {name: int((self.broken_by == number).sum()) for number, name in enumerate(self.members)},
            self.outside,
        )


class VerdictMatrix:
    """The verdicts of N samples, a column an attack.

    ids, labels: int64 (N,), those of the samples.
    file: an npz that is read if it exists, and written by `save`; None: nothing is written.
    about: everything that verdicts depend on besides the attack; a file that differs in it is refused.

    The npz holds `ids` and `labels` (N,), `attacks` and `settings` (A,), `verdicts` int8 (N, A), `broken_by`
    int8 (N, A) with `members`, `seconds`, `forwards`, `backwards`, `source_forwards`, `source_backwards` and
    `outside` (A,), and `about`.
    """

    def __init__(
        self, ids: Tensor, labels: Tensor, file: Path | None = None, about: dict[str, Any] | None = None
    ) -> None:
        self.ids, self.labels = ids.cpu(), labels.cpu()
        self.file = file
        self.about = about or {}
        self.columns: dict[str, VerdictColumn] = {}
        if file is not None and file.is_file():
            self._read(file)

    def column(self, attack: str, settings: str = "", members: list[str] | None = None) -> VerdictColumn:
        """The attack's column; an empty one where there is none, or one of other settings."""
        column = self.columns.get(attack)
        if column is None or column.settings != settings:
            empty = torch.full((len(self.ids),), UNKNOWN, dtype=torch.int8)
            column = VerdictColumn(attack, settings, empty, torch.full_like(empty, -1), members or [])
            self.columns[attack] = column
        return column

    def take_over(self, column: VerdictColumn) -> int:
        """Give an ensemble's column the verdicts of a finished one whose members it begins with.

        What these took becomes part of what the column took, unless it was begun without them.
        Returns how many members need not be run again.
        """
        parts = [c for c in self.columns.values() if c.is_beginning_of(column) and not len(c.open_rows)]
        if not parts:
            return 0
        part = max(parts, key=lambda c: len(c.members))
        rows = (column.verdicts == UNKNOWN) & (part.verdicts == BROKEN)
        column.verdicts[rows] = BROKEN
        column.broken_by[rows] = part.broken_by[rows]
        if column.forwards == 0:
            for name in ("seconds", *_COUNTS):
                setattr(column, name, getattr(part, name))
        return len(part.members)

    def save(self) -> None:
        """Write the file, whole or not at all."""
        if self.file is None:
            return
        columns = list(self.columns.values())
        arrays: dict[str, Any] = {
            "ids": self.ids.numpy(),
            "labels": self.labels.numpy(),
            "attacks": np.array([c.attack for c in columns]),
            "settings": np.array([c.settings for c in columns]),
            "verdicts": torch.stack([c.verdicts for c in columns], 1).numpy(),
            "broken_by": torch.stack([c.broken_by for c in columns], 1).numpy(),
            "members": np.array([json.dumps(c.members) for c in columns]),
            "seconds": np.array([c.seconds for c in columns]),
            **{name: np.array([getattr(c, name) for c in columns]) for name in _COUNTS},
            "about": np.array(json.dumps(self.about, sort_keys=True)),
        }
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        files.write_bytes(self.file, content.getvalue())

    def _read(self, file: Path) -> None:
        try:
            arrays = _load_arrays(file)
            self._check(arrays)
            for place, attack in enumerate(arrays["attacks"].tolist()):
                self.columns[str(attack)] = self._column_at(place, str(attack), arrays)
        except Exception as error:  # numpy and zipfile raise anything where bytes are missing or changed
            raise InputError(f"cannot read {file} ({error}): remove it and evaluate again") from None

    def _check(self, arrays: dict[str, Any]) -> None:
        samples = (("ids", self.ids), ("labels", self.labels))
        matches = all(np.array_equal(arrays[name], values.numpy()) for name, values in samples)
        if not matches or json.loads(str(arrays["about"])) != self.about:
            raise ValueError("it is of another evaluation")

    def _column_at(self, place: int, attack: str, arrays: dict[str, Any]) -> VerdictColumn:
        verdicts, broken_by = arrays["verdicts"][:, place], arrays["broken_by"][:, place]
        if any(part.shape != (len(self.ids),) or part.dtype != np.int8 for part in (verdicts, broken_by)):
            raise ValueError("its matrix has another shape or type")
        if not np.isin(verdicts, (ROBUST, BROKEN, UNKNOWN)).all():
            raise ValueError(f"its matrix holds other numbers than {ROBUST}, {BROKEN} and {UNKNOWN}")
        return VerdictColumn(
            attack,
            str(arrays["settings"][place]),
            torch.from_numpy(verdicts.copy()),
            torch.from_numpy(broken_by.copy()),
            [str(member) for member in json.loads(str(arrays["members"][place]))],
            float(arrays["seconds"][place]),
            **{name: int(arrays[name][place]) for name in _COUNTS},
        )


def _load_arrays(file: Path) -> dict[str, Any]:
    """The arrays of an npz."""
    content = io.BytesIO(file.read_bytes())  # its bytes: numpy does not close the file of a damaged archive
    with zipfile.ZipFile(content) as archive:
        if any(member.file_size > _LARGEST for member in archive.infolist()):
            raise ValueError(f"it holds an array of more than {_LARGEST >> 20} MiB")
    with np.load(content, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
