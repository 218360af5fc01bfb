"""The searches of a run, and how pictures tell their seeds apart."""

from robust_tickets.recipe.arms import needs_ticket
from robust_tickets.report.arm_styles import MARKERS, PALETTE
from robust_tickets.report.read import complete_seeds
from robust_tickets.runs.directory import RunDirectory


def searches(run: RunDirectory) -> list[int]:
    """The complete seeds that have a search; none where no arm needs a ticket."""
    if not any(needs_ticket(arm, run.recipe) for arm in run.recipe.compare.trained):
        return []
    return [seed for seed in complete_seeds(run) if run.search(seed).is_finished]


def seed_colour(number: int) -> dict[str, str]:
    """Colour and marker of the seed at that place, as matplotlib's `Axes.plot` has them."""
    return {"color": PALETTE[number % len(PALETTE)], "marker": MARKERS[number % len(MARKERS)]}
