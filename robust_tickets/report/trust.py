"""The warnings of trainings, and the sanity checks of the table's checkpoints."""

from robust_tickets.evaluation.sanity_files import table_reports
from robust_tickets.recipe.arms import ARMS
from robust_tickets.report.read import complete_seeds, evaluated_images
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_object


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
                reports = table_reports(checkpoint, run.recipe.threat, evaluated_images(folder, run))
                unchecked += [] if reports else [name]
                samples |= {report.samples for report in reports}
                failed = {c.finding: c.figure for report in reports for c in report.checks if not c.passed}
                warnings += [f"{name}: {check}: {figure}" for check, figure in failed.items()]
    if not samples:
        return ""
    but = f" but {', '.join(unchecked)}" if unchecked else ""
    images = " or ".join(map(str, sorted(samples)))
    head = f"Sanity checks of all checkpoints{but} ({images} test images each)"
    if not warnings:
        return f"{head}: all passed."
    return f"**{head} warn; these accuracies may mislead.** {'; '.join(warnings)}."
