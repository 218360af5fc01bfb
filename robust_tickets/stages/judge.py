"""One net before its judges: attacks at one eps after another, all that is done kept on disk."""

import json
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from robust_tickets import evaluation, runs
from robust_tickets.data import Dataset, Split
from robust_tickets.eps import Eps
from robust_tickets.errors import InputError
from robust_tickets.evaluation import Check, Judging, Row, Sanity, Verdicts
from robust_tickets.ledger import Ledger, Passes
from robust_tickets.models import Folded, forward_flops
from robust_tickets.recipe import Recipe
from robust_tickets.stages import robustness
from robust_tickets.stages.experiment import threat_model
from robust_tickets.stages.pictures import Pictures
from robust_tickets.stages.place import Machine


@dataclass(frozen=True)
class Asked:
    """What is asked of a checkpoint.

    limit: images, balanced over the classes; 0 means all. eps, norm: by default those that the net was
    trained against; several eps give a curve. source: another checkpoint, whose net is attacked instead.
    """

    attacks: tuple[str, ...]
    split: Literal["train", "val", "test"] = "test"
    limit: int = 0
    seed: int = 0
    eps: tuple[Eps, ...] = ()
    norm: Literal["Linf", "L2"] | None = None
    source: Path | None = None


@dataclass(frozen=True)
class Judge:
    """A net that is loaded, the images, and where results go. source: the net that is attacked instead."""

    file: Path
    asked: Asked
    machine: Machine
    net: Folded
    source: Folded | None
    data: Dataset
    folder: Path
    ledger: Ledger
    album: Pictures | None = None
    split: Split = field(init=False)

    def __post_init__(self) -> None:
        """Take the images that are judged."""
        object.__setattr__(self, "split", getattr(self.data, self.asked.split).first(self.asked.limit))

    def judge(self, what: Recipe) -> tuple[pd.DataFrame, list[Row]]:
        """The rows of all attacks at the recipe's eps, each merged into robustness.csv as it is done."""
        asked, flops = self.asked, forward_flops(self.net, self.data.spec.shape)
        about = self._about(what)
        verdicts = Verdicts(self.split.ids, self.split.labels, self._named("verdicts", about, "npz"), about)
        names = evaluation.attacks_named(asked.attacks)
        for name in names:
            if self.album is not None and name != evaluation.CLEAN:
                verdicts.columns.pop(name, None)  # what is known already would have no images
        robustness.rows_of(self.folder / "robustness.csv")  # whether it is damaged is better known now
        title = f"evaluate {self.file.stem}" + (f" at {what.threat.eps}" if len(asked.eps) > 1 else "")
        rows: list[Row] = []

        with self.machine.progress.stage(title, len(self.split) * len(names)) as meter:

            def advance(samples: int, passes: Passes) -> None:
                self.ledger.count("attack", passes, flops)
                meter.advance(samples, passes.total)

            with self.ledger.phase("attack"):
                for row in evaluation.evaluate(
                    self.net,
                    self.split,
                    names,
                    _judging(what, asked),
                    source=self.source,
                    verdicts=verdicts,
                    advance=advance,
                    attacked=None if self.album is None else self.album.at(str(what.threat.eps)),
                ):
                    rows.append(row)
                    robustness.merge(self.folder / "robustness.csv", self._table(rows, what))
                    meter.note("  ".join(f"{row.attack} {row.accuracy:.1%}" for row in rows))
        whole = [*rows, evaluation.worst_case(rows)] if len(rows) > 1 else rows
        table = self._table(whole, what)
        robustness.merge(self.folder / "robustness.csv", table)
        return table, rows

    def check(self, what: Recipe) -> Sanity:
        """The sanity checks of the net at the recipe's eps, as they were found or, once found, as kept."""
        about = self._about(what) | {"samples": evaluation.SAMPLES}
        about.pop("source")
        file = self._named("sanity", about, "json")
        if file.is_file():
            return _read(file)
        with self.ledger.phase("attack"), self.machine.progress.stage("sanity checks", 1):
            found = evaluation.sanity_checks(self.net, self.split, _judging(what, self.asked))
        self.ledger.count("attack", found.passes, forward_flops(self.net, self.data.spec.shape))
        runs.write_json(file, {"about": about, **asdict(found)})
        return found

    def _table(self, rows: list[Row], what: Recipe) -> pd.DataFrame:
        return robustness.table(
            rows,
            self.split.labels.cpu(),
            self.data.spec.classes,
            checkpoint=self.file.stem,
            split=self.asked.split,
            threat=what.threat,
            rel_step=what.evaluate.rel_step,
            seed=self.asked.seed,
            source="" if self.asked.source is None else _print_of(self.asked.source),
        )

    def _about(self, what: Recipe) -> dict[str, Any]:
        """All that verdicts hang on besides the attack."""
        return {
            "checkpoint": _print_of(self.file),
            "source": "" if self.asked.source is None else _print_of(self.asked.source),
            "images": self.data.fingerprint,
            "split": self.asked.split,
            "n": len(self.split),
            "norm": what.threat.norm,
            "eps": str(what.threat.eps),
            "rel_step": what.evaluate.rel_step,
            "seed": self.asked.seed,
            "batch": what.evaluate.batch,
            "threads": what.compute.threads,
            "channels_last": what.compute.channels_last,
            "device": self.machine.device.partition(":")[0],
        }

    def _named(self, kind: str, about: dict[str, Any], suffix: str) -> Path:
        digest = sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:8]
        return self.folder / f"{kind}-{self.file.stem}-{digest}.{suffix}"


def _judging(what: Recipe, asked: Asked) -> Judging:
    judged = what.evaluate
    return Judging(threat_model(what), judged.rel_step, judged.batch, asked.seed, what.compute.channels_last)


def _print_of(file: Path) -> str:
    """Sixteen hex digits of a file's content."""
    return sha256(file.read_bytes()).hexdigest()[:16]


def _read(file: Path) -> Sanity:
    found = runs.read_json(file, "remove it and evaluate again")
    try:
        checks = tuple(Check(**check) for check in found["checks"])
        return Sanity(checks, int(found["samples"]), Passes(**found["passes"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"cannot read {file} ({error}): remove it and evaluate again") from None
