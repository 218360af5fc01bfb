"""The evaluation of one network: attacks at one eps after another, with all results written as they come."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

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
from robust_tickets.evaluation.sanity_files import file_digest, read_report, write_report
from robust_tickets.evaluation.sanity_report import SanityReport
from robust_tickets.evaluation.verdict_matrix import VerdictMatrix
from robust_tickets.models.fingerprint import function_fingerprint, weights_fingerprint
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.fold import FoldedNet, fold
from robust_tickets.models.placement import place_net
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs import files
from robust_tickets.runs.directory import ArmDirectory
from robust_tickets.stages.adversarial_images import AdversarialImages
from robust_tickets.stages.evaluation_request import EvaluationRequest
from robust_tickets.stages.experiment import threat_model
from robust_tickets.stages.load_checkpoint import NetFile


@dataclass(frozen=True)
class LoadedNet:
    """A network as attacks see it.

    path: its checkpoint.
    view: the network with BatchNorm folded.
    digest: sixteen hex digits of weights, architecture and the user's own code.
    """

    path: Path
    view: FoldedNet
    digest: str

    @classmethod
    def of(cls, file: NetFile, recipe: Recipe, machine: Machine) -> "LoadedNet":
        """Build a checkpoint's network on the machine."""
        net = place_net(file.checkpoint.net(file.make), recipe.compute, machine)
        model = file.checkpoint.model
        own = "" if file.make is None else function_fingerprint(net, model.shape)
        return cls(file.path, fold(net), _digest([weights_fingerprint(net), asdict(model), own]))


@dataclass(frozen=True)
class EvaluationRun:
    """The evaluation of one network on loaded images.

    request: attacks, images and so on.
    machine: the device, and who sees the progress.
    net: the network that is evaluated.
    source: the network that is attacked instead.
    dataset: the images.
    folder: where the results go.
    ledger: the account of the evaluation.
    album: takes the adversarial images.
    """

    request: EvaluationRequest
    machine: Machine
    net: LoadedNet
    source: LoadedNet | None
    dataset: Dataset
    folder: ArmDirectory
    ledger: Ledger
    album: AdversarialImages | None = None
    split: Split = field(init=False)

    def __post_init__(self) -> None:
        """Select the images of the request."""
        split = getattr(self.dataset, self.request.split).first(self.request.limit)
        object.__setattr__(self, "split", split)

    def run_attacks(self, recipe: Recipe) -> tuple[pd.DataFrame, list[RobustnessRow]]:
        """Run all attacks at the recipe's eps; each row is merged into robustness.csv as it comes.

        Returns the rows as a table, the worst case included, and the rows of the attacks.
        """
        about = self._about(recipe)
        file = self.folder.verdicts(self.net.path, _short_digest(about))
        verdicts = VerdictMatrix(self.split.ids, self.split.labels, file, about)
        names = expand_attacks(self.request.attacks)
        for name in names:
            if self.album is not None and name != CLEAN:
                verdicts.columns.pop(name, None)  # verdicts of an earlier command come without images
        robustness_csv.read_rows(self.folder.robustness)  # a damaged one is refused before any attack
        # seconds of earlier commands; their passes are in the columns
        self.ledger.seconds["attack"] += sum(c.seconds for c in map(verdicts.columns.get, names) if c)
        rows: list[RobustnessRow] = []
        several = len(self.request.eps) > 1
        title = f"evaluate {self.net.path.stem}" + (f" at {recipe.threat.eps}" if several else "")
        progress = self.machine.progress.stage(title, len(self.split) * len(names))
        with progress as meter, self.ledger.phase("attack"):
            for row in evaluate.evaluate(
                self.net.view,
                self.split,
                names,
                self._config(recipe),
                source=None if self.source is None else self.source.view,
                verdicts=verdicts,
                advance=lambda samples, passes, source_passes: meter.advance(
                    samples, passes.total + source_passes.total
                ),
                on_images=None if self.album is None else self.album.at(str(recipe.threat.eps)),
            ):
                rows.append(row)
                robustness_csv.merge_rows(self.folder.robustness, self._table(rows, recipe))
                meter.note("  ".join(f"{row.attack} {row.accuracy:.1%}" for row in rows))
        for column in (verdicts.columns[row.attack] for row in rows):
            self._charge(self.net, column.passes)
            if self.source is not None:
                self._charge(self.source, column.source_passes)
        table = self._table([*rows, result.worst_case(rows)] if len(rows) > 1 else rows, recipe)
        robustness_csv.merge_rows(self.folder.robustness, table)
        return table, rows

    def check_sanity(self, recipe: Recipe) -> SanityReport:
        """The sanity report at the recipe's eps: that of an earlier command, or a new one."""
        report = self.saved_report(recipe)
        if report is None:
            with self.machine.progress.stage("sanity checks", sanity_passes(len(self.split))) as meter:

                def advance(check: str, passes: Passes) -> None:
                    meter.advance(passes.total, passes.total)
                    meter.note(check)

                with self.ledger.phase("attack"):
                    report = run_sanity_checks(self.net.view, self.split, self._config(recipe), advance)
            about = self._about(recipe) | {"source": "", "checkpoint": file_digest(self.net.path)}
            write_report(self._sanity_file(recipe), report, about)
        self._charge(self.net, report.passes)
        return report

    def saved_report(self, recipe: Recipe) -> SanityReport | None:
        """The sanity report of an earlier command, if any. Raises InputError for a damaged file."""
        file = self._sanity_file(recipe)
        return read_report(file)[0] if file.is_file() else None

    def save_ledger(self) -> None:
        """Write what verdicts and checks took; the account of the same work stays as it is."""
        report = self.ledger.report()
        file = self.folder.evaluation_ledger(self.net.path)
        if not file.is_file() or files.read_json(file, "remove it").get("passes") != report["passes"]:
            files.write_json(file, report)

    def curve_file(self, recipes: Sequence[Recipe]) -> Path:
        """The file of the curve over several eps."""
        about = {"each": [self._about(recipe) for recipe in recipes]}
        return self.folder.curve(self.net.path, _short_digest(about))

    def _sanity_file(self, recipe: Recipe) -> Path:
        return self.folder.sanity(self.net.path, _short_digest(self._about(recipe) | {"source": ""}))

    def _charge(self, net: LoadedNet, passes: Passes) -> None:
        self.ledger.count("attack", passes, forward_flops(net.view, self.dataset.spec.shape))

    def _table(self, rows: list[RobustnessRow], recipe: Recipe) -> pd.DataFrame:
        where = {
            "checkpoint": self.net.path.stem,
            "split": self.request.split,
            "rel_step": recipe.evaluate.rel_step,
            "seed": self.request.seed,
            "source": "" if self.source is None else self.source.digest,
        }
        classes = self.dataset.spec.classes
        return robustness_csv.result_table(rows, self.split.labels.cpu(), classes, recipe.threat, where)

    def _config(self, recipe: Recipe) -> EvaluationConfig:
        attacked = self.net if self.source is None else self.source
        return EvaluationConfig(
            threat_model(recipe),
            recipe.evaluate.rel_step,
            recipe.evaluate.batch,
            self.request.seed,
            recipe.compute.channels_last,
            forward_flops(attacked.view, self.dataset.spec.shape),
        )

    def _about(self, recipe: Recipe) -> dict[str, Any]:
        """Everything that verdicts depend on besides the attack."""
        return {
            "net": self.net.digest,
            "source": "" if self.source is None else self.source.digest,
            "images": self.dataset.fingerprint,
            "split": self.request.split,
            "n": len(self.split),
            "norm": recipe.threat.norm,
            "eps": str(recipe.threat.eps),
            "rel_step": recipe.evaluate.rel_step,
            "seed": self.request.seed,
            "batch": recipe.evaluate.batch,
            "threads": recipe.compute.threads,
            "channels_last": recipe.compute.channels_last,
            "device": self.machine.device.partition(":")[0],
            "versions": {name: version(name) for name in ("torch", "torchattacks")} | {"ours": __version__},
        }


def _digest(value: object) -> str:
    """Sixteen hex digits of plain values."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _short_digest(about: dict[str, Any]) -> str:
    """The eight hex digits in the names of files."""
    return _digest(about)[:8]
