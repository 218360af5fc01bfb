"""The verdicts of an evaluation, sample by attack, kept on disk while it goes on."""

import io
import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attacks.bookmark import State
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.evaluation.result import RobustnessRow
from robust_tickets.runs import files

ROBUST, BROKEN, UNKNOWN = 1, 0, -1
"""A verdict: right on the clean image and at every iterate; not so; not judged yet."""

_NEW = ("source_forwards", "source_backwards")  # arrays that the first files lack
_PLAIN = ("attack", "settings", "members", "seconds", "forwards", "backwards", "outside", *_NEW)
_LARGEST = 128 << 20  # bytes of an array: ids of sixteen million samples
_DAMAGE = (
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    EOFError,
    OSError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy and its zip files raise where bytes are missing or others."""


@dataclass
class VerdictColumn:
    """One attack's verdicts so far, int8 (N,), and what they took.

    `by` (N,) is which of the `members` of an ensemble broke a sample, -1 where none did. Of the forwards and
    backwards, those of a source went through the net that a transfer attacks instead.
    """

    attack: str
    settings: str
    verdicts: Tensor
    by: Tensor
    members: list[str] = field(default_factory=list)
    seconds: float = 0.0
    forwards: int = 0
    backwards: int = 0
    outside: int = 0
    source_forwards: int = 0
    source_backwards: int = 0

    @property
    def open(self) -> Tensor:
        """The samples without a verdict, as places."""
        return (self.verdicts == UNKNOWN).nonzero()[:, 0]

    @property
    def source_passes(self) -> Passes:
        """Those of the net that was attacked instead."""
        return Passes(self.source_forwards, self.source_backwards)

    @property
    def passes(self) -> Passes:
        """Those of the net that is judged."""
        return Passes(self.forwards, self.backwards).minus(self.source_passes)

    def row(self) -> RobustnessRow:
        """What the attack did, when no sample is open."""
        counts = {name: int((self.by == number).sum()) for number, name in enumerate(self.members)}
        return RobustnessRow(
            self.attack,
            self.verdicts == ROBUST,
            self.seconds,
            self.forwards,
            self.backwards,
            self.settings,
            counts,
            self.outside,
        )


class VerdictMatrix:
    """The verdict matrix of some samples, ids and labels int64 (N,), a column an attack.

    file: an npz that is read if it is there and written by `save`; None: nothing is kept. about: what the
    verdicts hang on besides the attack; a file that says otherwise is refused. The npz holds `ids` and
    `labels` (N,), `attacks` and `settings` (A,), `verdicts` int8 (N, A), `broken_by` int8 (N, A) with
    `members`, `seconds`, `forwards`, `backwards`, `source_forwards`, `source_backwards` and `outside` (A,),
    and `about`.
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
        """The attack's column: as it was left, or empty where it is new or was built differently then."""
        known = self.columns.get(attack)
        if known is None or known.settings != settings:
            empty = torch.full((len(self.ids),), UNKNOWN, dtype=torch.int8)
            known = VerdictColumn(attack, settings, empty, torch.full_like(empty, -1), members or [])
            self.columns[attack] = known
        return known

    def state(self) -> State:
        """All columns, for a bookmark."""
        columns, none = list(self.columns.values()), torch.empty(0, len(self.ids), dtype=torch.int8)
        return {
            "columns": [{name: getattr(c, name) for name in _PLAIN} for c in columns],
            "verdicts": torch.cat([none, *(c.verdicts[None] for c in columns)]),
            "by": torch.cat([none, *(c.by[None] for c in columns)]),
        }

    def take(self, state: State) -> bool:
        """Put a bookmark's columns in place of these, unless more is known here; gives whether it did."""
        rows = zip(state["columns"], state["verdicts"].cpu(), state["by"].cpu(), strict=True)
        theirs = {
            plain["attack"]: VerdictColumn(verdicts=verdicts.clone(), by=by.clone(), **plain)
            for plain, verdicts, by in rows
        }
        for name, ours in self.columns.items():
            known = theirs.get(name)
            if known is None or known.settings != ours.settings:
                return False
            if not ((ours.verdicts == UNKNOWN) | (ours.verdicts == known.verdicts)).all():
                return False
        self.columns = theirs
        return True

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
            "broken_by": torch.stack([c.by for c in columns], 1).numpy(),
            "members": np.array([json.dumps(c.members) for c in columns]),
            "seconds": np.array([c.seconds for c in columns]),
            "forwards": np.array([c.forwards for c in columns]),
            "backwards": np.array([c.backwards for c in columns]),
            "outside": np.array([c.outside for c in columns]),
            "source_forwards": np.array([c.source_forwards for c in columns]),
            "source_backwards": np.array([c.source_backwards for c in columns]),
            "about": np.array(json.dumps(self.about, sort_keys=True)),
        }
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        files.write_bytes(self.file, content.getvalue())

    def _read(self, file: Path) -> None:
        try:
            # its bytes, since numpy does not close the file of a damaged archive
            content = io.BytesIO(file.read_bytes())
            with zipfile.ZipFile(content) as archive:
                if any(member.file_size > _LARGEST for member in archive.infolist()):
                    raise ValueError(f"it holds an array of more than {_LARGEST >> 20} MiB")
            with np.load(content, allow_pickle=False) as found:
                whole = {name: found[name] for name in found.files}
            n, about = len(self.ids), json.loads(str(whole["about"]))
            samples = (("ids", self.ids), ("labels", self.labels))
            same = all(np.array_equal(whole[name], values.numpy()) for name, values in samples)
            if not same or about != self.about:
                raise ValueError("it is of another evaluation")
            for place, attack in enumerate(whole["attacks"].tolist()):
                verdicts, by = whole["verdicts"][:, place], whole["broken_by"][:, place]
                if any(part.shape != (n,) or part.dtype != np.int8 for part in (verdicts, by)):
                    raise ValueError("its matrix has another shape or type")
                if not np.isin(verdicts, (ROBUST, BROKEN, UNKNOWN)).all():
                    raise ValueError(f"its matrix holds other numbers than {ROBUST}, {BROKEN} and {UNKNOWN}")
                self.columns[str(attack)] = VerdictColumn(
                    str(attack),
                    str(whole["settings"][place]),
                    torch.from_numpy(verdicts.copy()),
                    torch.from_numpy(by.copy()),
                    [str(member) for member in json.loads(str(whole["members"][place]))],
                    float(whole["seconds"][place]),
                    int(whole["forwards"][place]),
                    int(whole["backwards"][place]),
                    int(whole["outside"][place]),
                    *(int(whole[name][place]) if name in whole else 0 for name in _NEW),
                )
        except _DAMAGE as error:
            raise InputError(f"cannot read {file} ({error}): remove it and evaluate again") from None
