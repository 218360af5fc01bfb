"""Sanity reports on disk, beside the checkpoints that they are of: their one reader and their one writer."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.evaluation.sanity_report import SanityCheck, SanityReport
from robust_tickets.recipe.fields import Threat
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.files import read_object, write_json

_FIX = "remove it and evaluate again"


def write_report(file: Path, report: SanityReport, about: dict[str, Any]) -> None:
    """Write a report; about: plain values that it depends on, among them the digest of its checkpoint."""
    write_json(file, {"about": about, **asdict(report)})


def read_report(file: Path) -> tuple[SanityReport, dict[str, Any]]:
    """A report, and what it is about. Raises InputError for a damaged file."""
    record = read_object(file, _FIX, ("about", "checks", "samples", "passes"))
    try:
        checks = tuple(SanityCheck(**check) for check in record["checks"])
        report = SanityReport(checks, int(record["samples"]), Passes(**record["passes"]))
        if report.samples < 1:
            raise ValueError("it looked at no sample")
        return report, dict(record["about"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"cannot read {file} ({error}): {_FIX}") from None


def table_reports(checkpoint: Path, threat: Threat, images: int) -> list[SanityReport]:
    """The reports of a run's checkpoint under its threat model, on so many test images.

    Those of other weights under that name do not count; where the weights are gone, that cannot be seen.
    Raises InputError for a damaged file.
    """
    key: dict[str, Any] = {"split": "test", "n": images, "seed": 0}
    key |= {"eps": str(threat.eps), "norm": threat.norm}
    if checkpoint.is_file():
        key["checkpoint"] = file_digest(checkpoint)
    pairs = [read_report(file) for file in ArmDirectory(checkpoint.parent).all_sanity(checkpoint)]
    return [report for report, about in pairs if key.items() <= about.items()]


def file_digest(file: Path) -> str:
    """Sixteen hex digits of a file's content."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
