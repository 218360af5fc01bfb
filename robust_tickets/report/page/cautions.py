"""What a reader must hear before the figures: few seeds, arms at chance, a busy machine, warnings."""

from robust_tickets.report.chance import chance_note
from robust_tickets.report.conditions import conditions, conditions_note
from robust_tickets.report.marks import DAGGER, DOUBLE_DAGGER, PILCROW
from robust_tickets.report.read import complete_seeds, left_out_note, results
from robust_tickets.report.trust import warnings_note
from robust_tickets.report.verdict import LEAST_SEEDS
from robust_tickets.runs.directory import RunDirectory

_NUMBERS = {1: "One seed is", 2: "Two seeds are"}


def cautions(run: RunDirectory) -> list[str]:
    """The cautions of a run, a sentence or two each; none for enough seeds on one quiet machine."""
    at_chance = chance_note(results(run), run.recipe)
    about_seconds = (_jobs(run), _busy(run), _machines(run))
    texts = (_seeds(run), at_chance, *about_seconds, warnings_note(run), left_out_note(run))
    return [without_path(text, run) for text in texts if text]


def without_path(text: str, run: RunDirectory) -> str:
    """A text without the place of the run directory, which belongs to a machine and not to results."""
    place = str(run.path)
    return text if place == "." else text.replace(f"{place}/", "").replace(place, run.path.resolve().name)


def _seeds(run: RunDirectory) -> str:
    n = len(complete_seeds(run))
    if n >= LEAST_SEEDS:
        return ""
    return (
        f"**{_NUMBERS[n]} too few.** No interval is known, and any difference of two arms may be chance: "
        f"give compare --seeds {LEAST_SEEDS} or more, which keeps what is done."
    )


def _jobs(run: RunDirectory) -> str:
    jobs = max(result.jobs for seeds in results(run).values() for result in seeds)
    if jobs == 1:
        return ""
    return (
        f"**Jobs ran side by side.** Seconds with a {DAGGER} were taken while up to {jobs} jobs ran at a "
        "time. FLOPs and accuracies do not depend on it."
    )


def _busy(run: RunDirectory) -> str:
    note = conditions_note(conditions(results(run)), PILCROW)
    return (
        f"**The machine was busy, or slower than before.** {note} FLOPs and accuracies stand." if note else ""
    )


def _machines(run: RunDirectory) -> str:
    machines = len(run.machines())
    if machines == 1:
        return ""
    return (
        f"**{machines} machines computed this run.** Its seconds have a {DOUBLE_DAGGER} and cannot be "
        "compared with each other. FLOPs can."
    )
