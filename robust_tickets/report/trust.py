"""The warnings of trainings, and the sanity checks of the table's checkpoints."""

import hashlib
from pathlib import Path
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.fields import Threat
from robust_tickets.report.read import complete_seeds, evaluated_images
from robust_tickets.runs.directory import ArmDirectory, RunDirectory
from robust_tickets.runs.files import read_object

_FIX = "remove it and evaluate again"


def warnings_note(run: RunDirectory) -> str:
    """The warnings of the trainings behind a table, each once; empty where there is none.

    Raises InputError for a damaged file.
    """
    arms = run.recipe.compare.trained
    before = [stage.folder for stage in (ARMS[arm].before for arm in arms) if stage is not None]
    stages: dict[str, list[str]] = {}
    for seed in complete_seeds(run):
        for folder in dict.fromkeys([*before, *arms]):
            ledger = read_object(run.arm(seed, folder).ledger, keys=("warnings",))
            for warning in ledger["warnings"]:
                stages.setdefault(warning, []).append(f"`{folder}` (seed {seed})")
    sentences = [f"{', '.join(names)}: {warning}." for warning, names in stages.items()]
    return f"**Watch out.** {' '.join(sentences)}" if sentences else ""


def sanity_note(run: RunDirectory) -> str:
    """What the sanity checks of the table's checkpoints found; empty where none were made.

    Raises InputError for a damaged file.
    """
    samples, warnings, unchecked = set(), [], []
    for seed in complete_seeds(run):
        for arm in run.recipe.compare.trained:
            folder = run.arm(seed, arm)
            for checkpoint in folder.checkpoints:
                name = f"`{arm}` (seed {seed}, {checkpoint.stem})"
                reports = sanity_reports(checkpoint, run.recipe.threat, evaluated_images(folder, run))
                unchecked += [] if reports else [name]
                samples |= {int(report["samples"]) for report in reports}
                checks = [check for report in reports for check in report["checks"]]
                failed = {check["name"]: check["figure"] for check in checks if not check["passed"]}
                warnings += [f"{name}: {check}: {figure}" for check, figure in failed.items()]
    if not samples:
        return ""
    but = f" but {', '.join(unchecked)}" if unchecked else ""
    images = " or ".join(map(str, sorted(samples)))
    head = f"Sanity checks of all checkpoints{but} on {images} test images each"
    if not warnings:
        return f"{head}: all passed."
    return f"**{head} warn; these accuracies may mislead.** {'; '.join(warnings)}."


def sanity_reports(checkpoint: Path, threat: Threat, images: int) -> list[dict[str, Any]]:
    """The reports of sanity checks beside a checkpoint, of evaluations on so many test images.

    Those of other weights under that name do not count; where the weights are gone, that cannot be seen.
    Raises InputError for a damaged file.
    """
    about: dict[str, Any] = {"split": "test", "n": images, "seed": 0}
    about |= {"eps": str(threat.eps), "norm": threat.norm}
    if checkpoint.is_file():
        about["checkpoint"] = digest_of(checkpoint)
    reports = []
    for file in ArmDirectory(checkpoint.parent).all_sanity(checkpoint):
        report = read_object(file, _FIX, ("about", "checks", "samples"))
        try:
            whole = all({"name", "figure", "passed"} <= check.keys() for check in report["checks"])
            if not whole or int(report["samples"]) < 1:
                raise ValueError
            if about.items() <= report["about"].items():
                reports.append(report)
        except (TypeError, AttributeError, ValueError):
            raise InputError(f"{file} is damaged: {_FIX}") from None
    return reports


def digest_of(file: Path) -> str:
    """Sixteen hex digits of a file's content."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
