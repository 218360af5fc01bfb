"""One net before its judges: attacks at one eps after another, all that is done kept on disk."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger, Passes
from robust_tickets.base.machine import Machine
from robust_tickets.base.version import __version__
from robust_tickets.data.dataset import Dataset, Split
from robust_tickets.evaluation import evaluate, result, robustness_csv
from robust_tickets.evaluation.attack_names import expand_attacks
from robust_tickets.evaluation.attack_sets import CLEAN
from robust_tickets.evaluation.evaluate import EvaluationConfig
from robust_tickets.evaluation.result import RobustnessRow
from robust_tickets.evaluation.sanity_checks import run_sanity_checks, sanity_passes
from robust_tickets.evaluation.sanity_report import SanityCheck, SanityReport
from robust_tickets.evaluation.verdict_matrix import VerdictMatrix
from robust_tickets.models.fingerprint import function_fingerprint, weights_fingerprint
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.fold import FoldedNet, fold
from robust_tickets.models.placement import place_net
from robust_tickets.models.user_net import NetFactory
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.trust import digest_of
from robust_tickets.runs import files
from robust_tickets.runs.directory import ArmDirectory
from robust_tickets.stages.attacked_images import AttackedImages
from robust_tickets.stages.experiment import threat_model
from robust_tickets.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class EvaluationRequest:
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
class LoadedNet:
    """A net as attacks see it, and sixteen hex digits of all that it is: weights, architecture, own code."""

    view: FoldedNet
    digest: str

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, make: NetFactory | None, what: Recipe, machine: Machine
    ) -> "LoadedNet":
        """A checkpoint's net on the machine."""
        net = place_net(checkpoint.net(make), what.compute, machine)
        own = "" if make is None else function_fingerprint(net, checkpoint.model.shape)
        return cls(fold(net), _digest([weights_fingerprint(net), asdict(checkpoint.model), own]))


@dataclass(frozen=True)
class EvaluationRun:
    """A net that is loaded, the images, and where results go. source: the net that is attacked instead."""

    file: Path
    asked: EvaluationRequest
    machine: Machine
    net: LoadedNet
    source: LoadedNet | None
    data: Dataset
    folder: ArmDirectory
    ledger: Ledger
    album: AttackedImages | None = None
    split: Split = field(init=False)

    def __post_init__(self) -> None:
        """Take the images that are judged."""
        object.__setattr__(self, "split", getattr(self.data, self.asked.split).first(self.asked.limit))

    def judge(self, what: Recipe) -> tuple[pd.DataFrame, list[RobustnessRow]]:
        """The rows of all attacks at the recipe's eps, each merged into robustness.csv as it is done."""
        asked = self.asked
        about = self._about(what)
        verdicts = VerdictMatrix(
            self.split.ids, self.split.labels, self.folder.verdicts(self.file, _short(about)), about
        )
        names = expand_attacks(asked.attacks)
        for name in names:
            if self.album is not None and name != CLEAN:
                verdicts.columns.pop(name, None)  # what is known already would have no images
        robustness_csv.read_rows(self.folder.robustness)  # whether it is damaged is better known now
        # what earlier commands did of it; passes are in the columns, with what is done now
        self.ledger.seconds["attack"] += sum(c.seconds for c in map(verdicts.columns.get, names) if c)
        title = f"evaluate {self.file.stem}" + (f" at {what.threat.eps}" if len(asked.eps) > 1 else "")
        rows: list[RobustnessRow] = []

        with self.machine.progress.stage(title, len(self.split) * len(names)) as meter:

            def advance(samples: int, passes: Passes, of_source: Passes) -> None:
                meter.advance(samples, passes.total + of_source.total)

            with self.ledger.phase("attack"):
                for row in evaluate.evaluate(
                    self.net.view,
                    self.split,
                    names,
                    self._config(what),
                    source=None if self.source is None else self.source.view,
                    verdicts=verdicts,
                    advance=advance,
                    on_images=None if self.album is None else self.album.at(str(what.threat.eps)),
                ):
                    rows.append(row)
                    robustness_csv.merge_rows(self.folder.robustness, self._table(rows, what))
                    meter.note("  ".join(f"{row.attack} {row.accuracy:.1%}" for row in rows))
        for column in (verdicts.columns[row.attack] for row in rows):
            self._charge(self.net, column.passes)
            if self.source is not None:
                self._charge(self.source, column.source_passes)
        whole = [*rows, result.worst_case(rows)] if len(rows) > 1 else rows
        table = self._table(whole, what)
        robustness_csv.merge_rows(self.folder.robustness, table)
        return table, rows

    def check(self, what: Recipe) -> SanityReport:
        """The sanity checks of the net at the recipe's eps, as they were found or, once found, as kept."""
        known = self.known_checks(what)
        if known is not None:
            self._charge(self.net, known.passes)
            return known
        file = self._sanity_file(what)
        with self.machine.progress.stage("sanity checks", sanity_passes(len(self.split))) as meter:

            def advance(check: str, passes: Passes) -> None:
                meter.advance(passes.total, passes.total)
                meter.note(check)

            with self.ledger.phase("attack"):
                found = run_sanity_checks(self.net.view, self.split, self._config(what), advance)
        self._charge(self.net, found.passes)
        about = self._about(what) | {"source": "", "checkpoint": digest_of(self.file)}
        files.write_json(file, {"about": about, **asdict(found)})
        return found

    def known_checks(self, what: Recipe) -> SanityReport | None:
        """The sanity checks that an earlier evaluation kept. Raises InputError for a damaged file."""
        file = self._sanity_file(what)
        return _read(file) if file.is_file() else None

    def account(self) -> None:
        """Keep what these verdicts and checks took; the account of the same work stays as it was."""
        report = self.ledger.report()
        file = self.folder.evaluation_ledger(self.file)
        if not file.is_file() or files.read_json(file, "remove it").get("passes") != report["passes"]:
            files.write_json(file, report)

    def curve_file(self, whats: Sequence[Recipe]) -> Path:
        """Where the curve over several eps goes."""
        return self.folder.curve(self.file, _short({"each": [self._about(what) for what in whats]}))

    def _sanity_file(self, what: Recipe) -> Path:
        return self.folder.sanity(self.file, _short(self._about(what) | {"source": ""}))

    def _charge(self, net: LoadedNet, passes: Passes) -> None:
        self.ledger.count("attack", passes, forward_flops(net.view, self.data.spec.shape))

    def _table(self, rows: list[RobustnessRow], what: Recipe) -> pd.DataFrame:
        return robustness_csv.result_table(
            rows,
            self.split.labels.cpu(),
            self.data.spec.classes,
            what.threat,
            {
                "checkpoint": self.file.stem,
                "split": self.asked.split,
                "rel_step": what.evaluate.rel_step,
                "seed": self.asked.seed,
                "source": "" if self.source is None else self.source.digest,
            },
        )

    def _about(self, what: Recipe) -> dict[str, Any]:
        """All that verdicts hang on besides the attack."""
        return {
            "net": self.net.digest,
            "source": "" if self.source is None else self.source.digest,
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
            "versions": {name: version(name) for name in ("torch", "torchattacks")} | {"ours": __version__},
        }

    def _config(self, what: Recipe) -> EvaluationConfig:
        target = self.net if self.source is None else self.source
        return EvaluationConfig(
            threat_model(what),
            what.evaluate.rel_step,
            what.evaluate.batch,
            self.asked.seed,
            what.compute.channels_last,
            forward_flops(target.view, self.data.spec.shape),
        )


def _digest(told: object) -> str:
    """Sixteen hex digits of plain values."""
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _short(about: dict[str, Any]) -> str:
    """The eight hex digits that file names have."""
    return _digest(about)[:8]


def _read(file: Path) -> SanityReport:
    found = files.read_json(file, "remove it and evaluate again")
    try:
        checks = tuple(SanityCheck(**check) for check in found["checks"])
        return SanityReport(checks, int(found["samples"]), Passes(**found["passes"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"cannot read {file} ({error}): remove it and evaluate again") from None
