"""Whether the seconds of arms were taken on a machine that other programs kept busy, or that was slower."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robust_tickets.base.machine_load import LEAST_SECONDS, crowding, other_cores
from robust_tickets.report.read import ArmResult

SLOWER = 1.25
"""How many times the fastest time of the fixed convolution it may take before seconds are marked."""

CONDITIONS_COLUMNS = ["other_cores", "slowdown", "disturbed"]
"""Columns of timing.csv on the machine."""


@dataclass(frozen=True)
class Conditions:
    """The machine while an arm's seconds were taken, at its worst over stages and seeds.

    others: cores that went to other programs, on average over a stage; cores: of the machine.
    crowded: whether they were more than the stage's threads left free.
    slowdown: time of the fixed convolution over its fastest in the run; 1 where it was not timed.
    """

    others: float = 0.0
    cores: int = 0
    crowded: bool = False
    slowdown: float = 1.0

    @property
    def disturbed(self) -> bool:
        """Whether the seconds are too high to be compared."""
        return self.crowded or self.slowdown > SLOWER


def conditions(results: Mapping[str, Sequence[ArmResult]]) -> dict[str, Conditions]:
    """The conditions of each arm of a run.

    Where several jobs ran at a time, which has a mark of its own, other programs cannot be told from them.
    """
    times = [time for seeds in results.values() for load in _loads(seeds) for time in load["convolutions"]]
    fastest = min(times, default=1.0)
    return {arm: _conditions(seeds, fastest) for arm, seeds in results.items()}


def _conditions(seeds: Sequence[ArmResult], fastest: float) -> Conditions:
    loads = [load for load in _loads(seeds) if load["seconds"] >= LEAST_SECONDS]
    if not loads:
        return Conditions()
    worst = max(loads, key=lambda load: (crowding(load), other_cores(load)))
    return Conditions(
        other_cores(worst),
        worst["cores"],
        all(result.jobs == 1 for result in seeds) and crowding(worst) > 0,
        max((time / fastest for load in loads for time in load["convolutions"]), default=1.0),
    )


def _loads(seeds: Iterable[ArmResult]) -> list[dict[str, Any]]:
    """The records of all stages that have one."""
    ledgers = [ledger for result in seeds for ledger in (result.before, result.ledger) if ledger]
    return [ledger["machine_load"] for ledger in ledgers if "machine_load" in ledger]


def conditions_note(found: Mapping[str, Conditions], mark: str) -> str:
    """What disturbed the seconds that bear the mark; empty where nothing did."""
    disturbed = {arm: each for arm, each in found.items() if each.disturbed}
    if not disturbed:
        return ""
    busiest = max(disturbed.values(), key=lambda each: each.crowded * each.others)
    slowest = max(each.slowdown for each in disturbed.values())
    causes = [
        f"other programs took up to {busiest.others:.1f} of {busiest.cores} cores" if busiest.crowded else "",
        f"a fixed convolution took up to {slowest:.1f} times its fastest" if slowest > SLOWER else "",
    ]
    return (
        f"{mark} Taken while {' and '.join(filter(None, causes))}: these seconds are too high, and no "
        "sentence rests on them."
    )
