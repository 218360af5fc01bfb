"""The warnings of trainings, and the sanity checks of the table's checkpoints."""

from collections.abc import Iterator

from robust_tickets.base.machine_load import slowdown
from robust_tickets.evaluation.sanity_files import table_reports
from robust_tickets.evaluation.sanity_report import SanityReport
from robust_tickets.recipe.arms import ARMS
from robust_tickets.report.read import complete_seeds, evaluated_images
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_object


def warnings_note(run: RunDirectory) -> str:
    """The warnings of the trainings behind a table, each once; empty where there is none.

    Those of a machine that slowed down are one sentence, since they say nothing of any single epoch.

    Raises InputError for a damaged file.
    """
    arms = run.recipe.compare.trained
    before = [stage.folder for stage in (ARMS[arm].before for arm in arms) if stage is not None]
    stages: dict[str, list[str]] = {}
    slowdowns: dict[str, float] = {}
    for seed in complete_seeds(run):
        for folder in dict.fromkeys([*before, *arms]):
            ledger = read_object(run.arm(seed, folder).ledger, keys=("warnings",))
            for warning in ledger["warnings"]:
                name, times = f"`{folder}` (seed {seed})", slowdown(warning)
                if times is None:
                    stages.setdefault(warning, []).append(name)
                else:
                    slowdowns[name] = max(times, slowdowns.get(name, 0.0))
    sentences = [f"{', '.join(names)}: {warning}." for warning, names in stages.items()]
    if slowdowns:
        sentences.append(
            f"{', '.join(slowdowns)}: the machine slowed down: a step took up to "
            f"{max(slowdowns.values()):.1f} times as long as before."
        )
    return f"**Watch out.** {' '.join(sentences)}" if sentences else ""


def sanity_note(run: RunDirectory) -> str:
    """What the sanity checks found that the recipe asks for; empty where they were not made.

    Raises InputError for a damaged file.
    """
    wanted = run.recipe.evaluate.sanity
    if wanted == "off":
        return "No sanity checks were asked for (`evaluate.sanity` off)."
    samples, warnings, unchecked = set(), [], []
    for arm, place, reports in sanity_reports(run):
        name = f"`{arm}` ({place})"
        unchecked += [] if reports else [name]
        samples |= {report.samples for report in reports}
        failed = {c.finding: c.figure for report in reports for c in report.checks if not c.passed}
        warnings += [f"{name}: {check}: {figure}" for check, figure in failed.items()]
    if not samples:
        return ""
    which = "checkpoints" if wanted == "all" else f"{wanted} checkpoints"
    but = f" but {', '.join(unchecked)}" if unchecked else ""
    images = " or ".join(map(str, sorted(samples)))
    head = f"Sanity checks of all {which}{but} ({images} test images each)"
    if not warnings:
        return f"{head}: all passed."
    return f"**{head} warn; these accuracies may mislead.** {'; '.join(warnings)}."


def sanity_reports(run: RunDirectory) -> Iterator[tuple[str, str, list[SanityReport]]]:
    """The arm, the seed and name, and the sanity reports of each checkpoint that the recipe wants checked.

    An arm that was copied from another run may have others too. Raises InputError for a damaged file.
    """
    for seed in complete_seeds(run):
        for arm in run.recipe.compare.trained:
            folder = run.arm(seed, arm)
            for checkpoint in folder.checkpoints:
                if run.recipe.evaluate.checks_sanity_of(checkpoint.stem):
                    reports = table_reports(checkpoint, run.recipe.threat, evaluated_images(folder, run))
                    yield arm, f"seed {seed}, {checkpoint.stem}", reports
