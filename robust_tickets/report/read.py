"""The results of arms, read from the files of a run directory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.evaluation import robustness_csv
from robust_tickets.evaluation.attack_sets import AA_PAIR, AA_WHOLE, PGD_BESIDE_AA, TABLE_ATTACKS
from robust_tickets.models.title import network_title
from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.fields import Threat
from robust_tickets.runs import files
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.curve import check_curve, early_steps
from robust_tickets.runs.directory import RunDirectory

_FIX = "remove its folder and run compare again"
_TEXTS = ("arm", "data", "fingerprint")
_RECORD = (
    *_TEXTS,
    *("epochs", "steps_per_epoch", "best_epoch", "test_images", "density", "params", "channels_removed"),
)
_LEDGER = ("charged_seconds", "charged_passes", "charged_flops")
_EPOCH = ("step", "epoch", "val_clean", "val_robust", "val_loss", "passes", "flops")


@dataclass(frozen=True)
class ArmResult:
    """One arm of one seed.

    about: its record (`arm.json`).
    ledger: the ledger of its own training.
    before: the ledger of the search or first stage that is charged to it; None: there is none.
    history: a record an epoch.
    accuracy: by checkpoint (best, last, average if there is one) and attack, a fraction of the test images;
        under AutoAttack, of the recipe's `aa_images`.
    points: validations within the first epochs.
    """

    arm: str
    seed: int
    about: dict[str, Any]
    ledger: dict[str, Any]
    before: dict[str, Any] | None
    history: list[dict[str, Any]]
    accuracy: dict[tuple[str, str], float]
    points: list[dict[str, Any]] = field(default_factory=list)

    @property
    def curve(self) -> list[dict[str, Any]]:
        """All validations in order of steps: those after each epoch, and those within the first ones.

        Their epochs are steps over the steps of a whole one: the last may have been cut short.
        """
        records = sorted([*self.points, *self.history], key=lambda record: (record["step"], record["epoch"]))
        return [{**record, "epoch": record["step"] / self.about["steps_per_epoch"]} for record in records]

    @property
    def jobs(self) -> int:
        """How many jobs ran at a time, at most, while its seconds were taken."""
        return max(int(ledger.get("jobs", 1)) for ledger in (self.ledger, self.before or {}))

    def charged(self, quantity: str) -> float:
        """The seconds, passes or flops that are charged to the arm, with those of the stage before it."""
        key = f"charged_{quantity}"
        total: float = self.ledger[key] + (self.before[key] if self.before else 0)
        return total


def complete_seeds(run: RunDirectory) -> list[int]:
    """Seeds in which every arm of the recipe is trained and evaluated; only these can be compared."""
    return [seed for seed, part in missing_parts(run).items() if not part]


def missing_parts(run: RunDirectory) -> dict[int, str]:
    """Each seed, and the first thing that it lacks for the table, in words; empty where it lacks nothing."""
    arms = run.recipe.compare.arms
    return {s: next(filter(None, (missing_part(run, s, arm) for arm in arms)), "") for s in run.seeds()}


def left_out_note(run: RunDirectory) -> str:
    """Which seeds are not among the results, and why; empty where there are none."""
    parts = [f"seed {seed} ({part})" for seed, part in missing_parts(run).items() if part]
    return f"Left out, until `compare` completes it: {', '.join(parts)}." if parts else ""


def results(run: RunDirectory) -> dict[str, list[ArmResult]]:
    """Each arm of the recipe with its results over complete seeds. Raises InputError if there are none."""
    seeds = complete_seeds(run)
    arms = run.recipe.compare.arms
    if not seeds:
        parts = "".join(f"; seed {seed}: {part}" for seed, part in missing_parts(run).items())
        raise InputError(f"no seed in {run.path} has all of {', '.join(arms)}: run compare{parts}")
    by_arm = {arm: [arm_result(run, seed, arm) for seed in seeds] for arm in arms}
    if len({result.about["fingerprint"] for seeds_ in by_arm.values() for result in seeds_}) > 1:
        raise InputError(
            f"arms in {run.path} were trained on different images: keep to one --data.root, in another --runs"
        )
    return by_arm


def heading(run: RunDirectory) -> str:
    """Data, network, threat model, test images and seeds, in a line."""
    model, threat = run.recipe.model, run.recipe.threat
    n, seeds = run.recipe.evaluate.images or "all", complete_seeds(run)
    network = network_title(model.name, model.width)
    return (
        f"{data_title(run)}, {network}, {threat.norm} {threat.eps}, "
        f"{n} test images, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    )


def data_title(run: RunDirectory) -> str:
    """The name of the data that the arms were trained on."""
    titles = {
        _read(run.arm(seed, arm).record, _RECORD)["data"]
        for seed in complete_seeds(run)
        for arm in run.recipe.compare.trained
    }
    return " and ".join(sorted(titles))


def arm_result(
    run: RunDirectory,
    seed: int,
    arm: str,
    folder: ArmDirectory | None = None,
    before: ArmDirectory | None = None,
) -> ArmResult:
    """Read the result of one arm of one seed.

    folder, before: the folders of the arm and of the stage that is charged to it, where they are not those of
        its record in `recipe.arms`.
    Raises InputError for a damaged file, or one of another format.
    """
    record = ARMS[arm]
    if record.best_epoch_of:
        source = arm_result(run, seed, record.best_epoch_of)
        return _stopped_at_best(source, arm, run.arm(seed, record.best_epoch_of))
    folder = folder or run.arm(seed, arm)
    if before is None and record.before is not None:
        before = run.arm(seed, record.before.folder)
    about = _read(folder.record, _RECORD)
    if about["arm"] != folder.path.name:
        raise InputError(f"{folder.record} is of the arm {about['arm']}: {_FIX}")
    ledger = _read(folder.ledger, _LEDGER)
    history, points = _epochs(folder.metrics), _epochs(folder.early_metrics)
    steps = early_steps(run.recipe.evaluate, int(about["steps_per_epoch"]))
    check_curve(folder, ledger["charged_passes"], history, points, steps)
    return ArmResult(
        arm,
        seed,
        about=about,
        ledger=ledger,
        before=_read(before.ledger, _LEDGER) if before else None,
        history=history,
        accuracy=accuracy(folder, run),
        points=points,
    )


def _stopped_at_best(source: ArmResult, arm: str, folder: ArmDirectory) -> ArmResult:
    """An arm, had it been stopped at its best epoch: the cost and the curve to there, its accuracy twice."""
    best = source.about["best_epoch"]
    history = [record for record in source.history if record["epoch"] <= best]
    seconds = source.ledger.get("epoch_seconds", [])
    if not history or len(seconds) < len(history):
        raise InputError(f"{folder.ledger} does not have the cost of each epoch: {_FIX}")
    accuracy = {attack: x for (name, attack), x in source.accuracy.items() if name == "best"}
    return replace(
        source,
        arm=arm,
        about={**source.about, "arm": arm, "epochs": best},
        ledger={
            **source.ledger,
            "charged_seconds": seconds[len(history) - 1],
            "charged_passes": history[-1]["passes"],
            "charged_flops": history[-1]["flops"],
        },
        history=history,
        points=[point for point in source.points if point["epoch"] <= best],
        accuracy={(name, attack): x for attack, x in accuracy.items() for name in ("best", "last")},
    )


def missing_part(run: RunDirectory, seed: int, arm: str) -> str:
    """What an arm of a seed lacks for the table, in words; empty where it lacks nothing."""
    record = ARMS[ARMS[arm].best_epoch_of or arm]
    folder = run.arm(seed, record.name)
    paths = [folder.record, folder.ledger, folder.metrics, folder.early_metrics, folder.robustness]
    if record.before is not None:
        paths.append(run.arm(seed, record.before.folder).ledger)
    for path in paths:
        if not path.is_file():
            return f"there is no {path}"
    found, evaluate = accuracy(folder, run), run.recipe.evaluate
    for name in _checkpoints(folder):
        judged = evaluate.aa_images and name in evaluate.aa_checkpoints
        for attack in [*TABLE_ATTACKS, *([AA_PAIR] if judged else [])]:
            if (name, attack) not in found:
                return f"{folder.robustness} has no row of {name} under {attack}"
    return ""


def _checkpoints(folder: ArmDirectory) -> tuple[str, ...]:
    """The names of the checkpoints that an arm's training wrote."""
    return "best", "last", *(["average"] if "best_is_average" in _read(folder.record, _RECORD) else [])


def evaluated_images(folder: ArmDirectory, run: RunDirectory) -> int:
    """The number of test images that an arm's checkpoints are evaluated on."""
    return int(run.recipe.evaluate.images or _read(folder.record, _RECORD)["test_images"])


def accuracy(folder: ArmDirectory, run: RunDirectory) -> dict[tuple[str, str], float]:
    """The accuracy of each checkpoint under each attack of the recipe's threat model."""
    content = robustness_csv.read_content(folder.robustness)
    images, evaluate = evaluated_images(folder, run), run.recipe.evaluate
    judged = (evaluate.aa_images, evaluate.aa_checkpoints)
    return dict(_accuracies(folder.robustness, content, run.recipe.threat, images, *judged))


@lru_cache(maxsize=1024)  # each table of a report asks for the accuracies of all arms several times
def _accuracies(
    file: Path,
    content: bytes | None,
    threat: Threat,
    images: int,
    aa_images: int,
    aa_checkpoints: Sequence[str],
) -> dict[tuple[str, str], float]:
    """The same from the content of a robustness.csv.

    images, aa_images: on how many images accuracies count; the second for those under AutoAttack.
    aa_checkpoints: those whose accuracy under AutoAttack counts, as all seeds have it.
    """
    rows = robustness_csv.parse_rows(file, content)
    rows = rows[(rows.split == "test") & (rows.seed == 0)]
    # not the images that were attacked on another network: they show how attacks transfer, no robustness
    rows = rows[(rows.eps == str(threat.eps)) & (rows.norm == threat.norm) & (rows.source == "")]
    of_autoattack = (rows.n == aa_images) & rows.checkpoint.isin(aa_checkpoints)
    by_autoattack = rows.attack.isin([AA_PAIR, AA_WHOLE])
    parts = (
        rows[~by_autoattack & (rows.n == images)],
        rows[by_autoattack & of_autoattack],
        rows[of_autoattack & (rows.attack == "pgd-20")].assign(attack=PGD_BESIDE_AA),
    )
    return {(row.checkpoint, row.attack): float(row.accuracy) for part in parts for row in part.itertuples()}


def _epochs(file: Path) -> list[dict[str, Any]]:
    """The validations in a file. Raises InputError for a record that lacks a figure."""
    records = files.read_jsonl(file, _FIX)
    for record in records:
        missing = [key for key in _EPOCH if key not in record]
        if missing:
            raise InputError(f"{file} has a record without {missing[0]!r}: {_FIX}")
    return records


def _read(file: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """A JSON object that has these keys, all of them finite numbers but for texts."""
    record = files.read_object(file, _FIX, keys)
    for key in keys:
        value = record[key]
        least = 1 if key == "steps_per_epoch" else 0
        if key not in _TEXTS and not (isinstance(value, int | float) and least <= value < math.inf):
            raise InputError(f"{file} has {value!r:.40} for {key}, which is no such number: {_FIX}")
    return record
