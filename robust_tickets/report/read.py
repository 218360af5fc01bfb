"""What the files of a run directory say."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.evaluation.attack_sets import TABLE_ATTACKS
from robust_tickets.recipe.fields import FIRST_STAGE, TICKET_ARMS
from robust_tickets.runs import files as run_files
from robust_tickets.runs.directory import ArmDirectory, RunDirectory

_ABOUT = ("data", "fingerprint", "epochs", "density", "params")
_TEXTS = ("data", "fingerprint")
_MEND = "remove its folder and run compare again"
_LEDGER = ("charged_seconds", "charged_passes", "charged_flops")


@dataclass(frozen=True)
class ArmResult:
    """One arm of one seed, as its files have it; `before` is the ledger of what is charged to it besides its
    own training: its search, or the first of two stages.
    """

    arm: str
    seed: int
    about: dict[str, Any]
    ledger: dict[str, Any]
    before: dict[str, Any] | None
    history: list[dict[str, Any]]
    accuracy: dict[tuple[str, str], float]
    """(checkpoint, attack) -> fraction of the test images."""
    points: list[dict[str, Any]] = field(default_factory=list)
    """validations within the first epochs"""

    @property
    def curve(self) -> list[dict[str, Any]]:
        """All validations in order of steps: those within the first epochs, and those after each.

        Their epochs are steps over the steps of a whole one: the last may have been cut short.
        """
        found = sorted([*self.points, *self.history], key=_step)
        whole = self._steps_per_epoch
        return [{**record, "epoch": record["step"] / whole} if whole else record for record in found]

    @property
    def _steps_per_epoch(self) -> int:
        """0 where it is not known, as of the first releases."""
        if "steps_per_epoch" in self.about:
            return int(self.about["steps_per_epoch"])
        if len(self.history) > 1 and "step" in self.history[0]:
            return int(self.history[0]["step"])
        return 0


def before_arm(arm: str) -> str:
    """The folder of the stage that comes before an arm and is charged to it; empty where there is none."""
    if arm == "dense-staged":
        return FIRST_STAGE
    return "search" if arm in TICKET_ARMS else ""


def complete_seeds(run: RunDirectory) -> list[int]:
    """Seeds in which every arm of the recipe is trained and evaluated.

    Only these can be compared: an average over other seeds for another arm would be another experiment.
    """
    return [s for s in run.seeds() if not any(missing_part(run, s, arm) for arm in run.recipe.compare.arms)]


def arm_result(run: RunDirectory, seed: int, arm: str) -> ArmResult:
    """All that the files say of one arm of one seed; dense-best is what those of dense say of its best epoch.

    Raises InputError for a damaged file.
    """
    if arm == "dense-best":
        return _stopped_at_best(arm_result(run, seed, "dense"), run.arm(seed, "dense"))
    folder = run.arm(seed, arm)
    before = before_arm(arm)
    account = _record(run.arm(seed, before).ledger, _LEDGER) if before else None
    about = _record(folder.record, _ABOUT)
    if about.get("arm", arm) != arm:
        raise InputError(f"{folder.record} is of the arm {about['arm']}: {_MEND}")
    return ArmResult(
        arm,
        seed,
        about=about,
        ledger=_record(folder.ledger, _LEDGER),
        before=account,
        history=run_files.read_jsonl(folder.metrics, _MEND),
        accuracy=_accuracy(folder, run),
        points=run_files.read_jsonl(folder.early_metrics, _MEND) if folder.early_metrics.is_file() else [],
    )


def _stopped_at_best(dense: ArmResult, folder: ArmDirectory) -> ArmResult:
    """Dense, had it been stopped at its best epoch: the cost and the curve to there, its accuracy twice."""
    best = dense.about.get("best_epoch")
    history = [record for record in dense.history if record["epoch"] <= (best or 0)]
    seconds = dense.ledger.get("epoch_seconds", [])
    if not history or len(seconds) < len(history):
        raise InputError(
            f"{folder} does not say what its epochs cost (an older release's does not): {_MEND}, or leave "
            "dense-best out of compare.arms"
        )
    found = {a: x for (name, a), x in dense.accuracy.items() if name == "best"}
    return replace(
        dense,
        arm="dense-best",
        about={**dense.about, "arm": "dense-best", "epochs": best},
        ledger={
            **({"jobs": dense.ledger["jobs"]} if "jobs" in dense.ledger else {}),
            "charged_seconds": seconds[len(history) - 1],
            "charged_passes": history[-1]["passes"],
            "charged_flops": history[-1]["flops"],
        },
        history=history,
        points=[point for point in dense.points if point["epoch"] <= (best or 0)],
        accuracy={(name, attack): x for attack, x in found.items() for name in ("best", "last")},
    )


def missing_part(run: RunDirectory, seed: int, arm: str) -> str:
    """What an arm of a seed lacks for the table, in words; empty where it lacks nothing."""
    arm = "dense" if arm == "dense-best" else arm
    folder = run.arm(seed, arm)
    files = [folder.record, folder.ledger, folder.metrics, folder.robustness]
    before = before_arm(arm)
    files += [run.arm(seed, before).ledger] if before else []
    for file in files:
        if not file.is_file():
            return f"there is no {file}"
    found = _accuracy(folder, run)
    for name in ("best", "last"):
        for attack in TABLE_ATTACKS:
            if (name, attack) not in found:
                return f"{folder.robustness} has no row of {name} under {attack}"
    return ""


def _accuracy(folder: ArmDirectory, run: RunDirectory) -> dict[tuple[str, str], float]:
    file = folder.robustness
    judged = judged_images(folder, run)
    try:
        rows = run_files.read_csv(file, ("eps", "norm", "source"), "remove it and run compare again")
        if "norm" in rows.columns:  # files from before there was another have none
            rows = rows[rows.norm == run.recipe.threat.norm]
        if "source" in rows.columns:  # images made on another net say how attacks transfer, and no more
            rows = rows[rows.source.isna()]
        rows = rows[(rows.split == "test") & (rows.eps == str(run.recipe.threat.eps)) & (rows.seed == 0)]
        rows = rows[rows.n == judged]
        found = {(row.checkpoint, row.attack): float(row.accuracy) for row in rows.itertuples()}
        odd = [accuracy for accuracy in found.values() if not 0 <= accuracy <= 1]
        if odd:
            raise ValueError(f"an accuracy of {odd[0]:g}, which is no fraction")
        return found
    except (ValueError, OSError, AttributeError) as error:
        raise InputError(f"cannot read {file} ({error}): remove it and run compare again") from None


def _step(record: dict[str, Any]) -> tuple[int, int]:
    """By what records are in order; those of the first releases have no step."""
    return int(record.get("step", 0)), int(record["epoch"])


def judged_images(folder: ArmDirectory, run: RunDirectory) -> int:
    """On how many test images an arm is judged. Raises InputError for a damaged file."""
    if run.recipe.evaluate.images:
        return run.recipe.evaluate.images
    about = run_files.read_json(folder.record)
    if isinstance(about, dict) and "test_images" in about:
        return int(about["test_images"])
    from robust_tickets.data.dataset import SPECS  # imports torch, which a table needs for nothing else

    return SPECS[run.recipe.data.name].test_images  # written before data sets of unknown size


def _record(file: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """A JSON object that has these keys."""
    record = run_files.read_object(file, _MEND, keys)
    for key in keys:
        value = record[key]
        if key not in _TEXTS and not (isinstance(value, int | float) and 0 <= value < math.inf):
            raise InputError(f"{file} has {value!r:.40} for {key}, which is no such number: {_MEND}")
    return record
