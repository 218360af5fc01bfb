"""What the watchers of the trainings and the sanity checks of the table's checkpoints said."""

import hashlib
from pathlib import Path
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.fields import Threat
from robust_tickets.report.read import before_arm, complete_seeds, judged_images
from robust_tickets.runs.directory import ArmDirectory, RunDirectory
from robust_tickets.runs.files import read_json


def watch_note(run: RunDirectory) -> str:
    """A sentence for each warning of the trainings behind a table, said once; empty where there was none.

    Raises InputError for a damaged file.
    """
    told: dict[str, list[str]] = {}
    for seed in complete_seeds(run):
        before = [before_arm(arm) for arm in run.recipe.compare.trained]
        for stage in dict.fromkeys([*filter(None, before), *run.recipe.compare.trained]):
            account = read_json(run.arm(seed, stage).ledger)
            warnings = (
                account.get("warnings", []) if isinstance(account, dict) else []
            )  # older ones have none
            for warning in warnings:
                told.setdefault(warning, []).append(f"`{stage}` (seed {seed})")
    said = [f"{', '.join(stages)}: {warning}." for warning, stages in told.items()]
    return f"**Watch out.** {' '.join(said)}" if said else ""


def sanity_note(run: RunDirectory) -> str:
    """A sentence for under the table; empty for runs whose checkpoints were never checked.

    Raises InputError for a damaged file.
    """
    samples, warnings, missing = set(), [], []
    for seed in complete_seeds(run):
        for arm in run.recipe.compare.trained:
            folder = run.arm(seed, arm)
            for checkpoint in folder.checkpoints:
                place = f"`{arm}` (seed {seed}, {checkpoint.stem})"
                found = kept_checks(checkpoint, run.recipe.threat, judged_images(folder, run))
                missing += [] if found else [place]
                samples |= {int(each["samples"]) for each in found}
                failed = {c["name"]: c["figure"] for f in found for c in f["checks"] if not c["passed"]}
                warnings += [f"{place}: {check}: {figure}" for check, figure in failed.items()]
    if not samples:
        return ""
    about = f"Sanity checks of all checkpoints on {' or '.join(map(str, sorted(samples)))} test images each"
    if missing:
        about = about.replace("all checkpoints", f"all checkpoints but {', '.join(missing)}")
    if not warnings:
        return f"{about}: all passed."
    return f"**{about} warn; these accuracies may mislead.** {'; '.join(warnings)}."


def kept_checks(checkpoint: Path, threat: Threat, images: int) -> list[dict[str, Any]]:
    """The sanity checks beside a checkpoint, as kept, that were made in judging so many test images.

    Those of other weights under that name do not count; where the weights are gone, that cannot be seen.
    Raises InputError for a damaged file.
    """
    wanted: dict[str, Any] = {"split": "test", "n": images, "seed": 0}
    wanted |= {"eps": str(threat.eps), "norm": threat.norm}
    if checkpoint.is_file():
        wanted["checkpoint"] = digest_of(checkpoint)
    kept = []
    for file in ArmDirectory(checkpoint.parent).all_sanity(checkpoint):
        found = read_json(file, "remove it and evaluate again")
        try:
            whole = all({"name", "figure", "passed"} <= check.keys() for check in found["checks"])
            if not whole or int(found["samples"]) < 1:
                raise ValueError
            if wanted.items() <= found["about"].items():
                kept.append(dict(found))
        except (KeyError, TypeError, AttributeError, ValueError):
            raise InputError(f"{file} is damaged: remove it and evaluate again") from None
    return kept


def digest_of(file: Path) -> str:
    """Sixteen hex digits of a file's content."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
