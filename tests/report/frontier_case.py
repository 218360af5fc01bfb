"""Frontiers made up in memory."""

from robust_tickets.report.candidates import Candidate, Frontier
from robust_tickets.report.judge import Judge


def candidate(arm, flops, robust, seconds=None, **about):
    """An arm of so many FLOPs in every seed, and so many seconds (by default ten times as many)."""
    n = len(robust)
    costs = tuple(seconds) if seconds is not None else (10.0 * flops,) * n
    clean = tuple(accuracy + 0.2 for accuracy in robust)
    about = {"name": arm, "weights": "last"} | about
    return Candidate(
        arm=arm, flops=(float(flops),) * n, seconds=costs, robust=tuple(robust), clean=clean, **about
    )


def frontier(*candidates):
    """A frontier of these candidates, judged by PGD-20."""
    seeds = tuple(range(len(candidates[0].robust)))
    return Frontier(candidates, seeds, Judge("pgd-20"), 1000, "made up")
