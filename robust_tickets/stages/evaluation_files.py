"""The evaluation of a checkpoint, with all results written as they come."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from robust_tickets.base.devices import describe_gpu
from robust_tickets.base.version import __version__
from robust_tickets.evaluation import result, robustness_csv
from robust_tickets.evaluation.result import RobustnessRow
from robust_tickets.evaluation.sanity_files import file_digest, read_report, write_report
from robust_tickets.evaluation.sanity_report import SanityReport
from robust_tickets.evaluation.verdict_matrix import VerdictMatrix
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs import files
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.stages.evaluation_run import EvaluationRun, short_digest


@dataclass(frozen=True, kw_only=True)
class SavedEvaluation(EvaluationRun):
    """An evaluation whose results are written as they come; folder: where they go."""

    folder: ArmDirectory

    def check_files(self, recipe: Recipe) -> None:
        """Raise InputError for damaged results of earlier commands, before any attack."""
        self._saved_report(recipe)
        robustness_csv.read_rows(self.folder.robustness)

    def run_attacks(self, recipe: Recipe) -> list[RobustnessRow]:
        """Run all attacks at the recipe's eps; the worst case is the last row of robustness.csv."""
        rows = super().run_attacks(recipe)
        robustness_csv.merge_rows(self.folder.robustness, self.table(rows, recipe))
        return rows

    def check_sanity(self, recipe: Recipe) -> SanityReport:
        """The sanity report at the recipe's eps: that of an earlier command, or a new one."""
        report = self._saved_report(recipe)
        if report is not None:
            self._charge(self.net, report.passes)
            return report
        report = super().check_sanity(recipe)
        about = self._about(recipe) | {"source": "", "checkpoint": file_digest(self.net.path)}
        write_report(self._sanity_file(recipe), report, about)
        return report

    def verdicts(self, recipe: Recipe) -> VerdictMatrix:
        """The verdicts at the recipe's eps on disk; at first those of another checkpoint of the same network.

        Where the last epoch is the best, each of its attacks is run once.
        """
        about = self._about(recipe)
        file = self.folder.verdicts(self.net.path, short_digest(about))
        twins = self.folder.all_verdicts(short_digest(about))
        if twins and file not in twins:
            files.write_bytes(file, twins[0].read_bytes())
        return VerdictMatrix(self.split.ids, self.split.labels, file, about)

    def save_rows(self, rows: list[RobustnessRow], recipe: Recipe) -> None:
        """Merge the rows into robustness.csv."""
        robustness_csv.merge_rows(self.folder.robustness, self._table(rows, recipe))

    def table(self, rows: list[RobustnessRow], recipe: Recipe) -> pd.DataFrame:
        """The rows of robustness.csv, the worst case of several attacks included."""
        return self._table([*rows, result.worst_case(rows)] if len(rows) > 1 else rows, recipe)

    def save_ledger(self) -> None:
        """Write what verdicts and checks took; the account of the same work stays as it is."""
        report = self.ledger.report()
        file = self.folder.evaluation_ledger(self.net.path, self.request.account)
        if not file.is_file() or files.read_json(file, "remove it").get("passes") != report["passes"]:
            files.write_json(file, report)

    def curve_file(self, recipes: Sequence[Recipe]) -> Path:
        """The file of the curve over several eps."""
        about = {"each": [self._about(recipe) for recipe in recipes]}
        return self.folder.curve(self.net.path, short_digest(about))

    def _saved_report(self, recipe: Recipe) -> SanityReport | None:
        """The sanity report of an earlier command, if any. Raises InputError for a damaged file."""
        file = self._sanity_file(recipe)
        return read_report(file)[0] if file.is_file() else None

    def _sanity_file(self, recipe: Recipe) -> Path:
        return self.folder.sanity(self.net.path, short_digest(self._about(recipe) | {"source": ""}))

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

    def _about(self, recipe: Recipe) -> dict[str, Any]:
        """Everything that verdicts depend on besides the attack."""
        gpu = describe_gpu(self.machine.device)
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
            **{name: gpu[name] for name in ("gpu", "cudnn", "tf32") if name in gpu},
            "versions": {name: version(name) for name in ("torch", "torchattacks")} | {"ours": __version__},
        }
