"""The candidates of a frontier: arms of one or several runs, with cost and accuracy by seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Literal

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.fields import CheckpointName
from robust_tickets.report.chance import is_at_chance
from robust_tickets.report.frontier import Points
from robust_tickets.report.judge import Judge
from robust_tickets.report.marks import seconds_marks

Cost = Literal["flops", "seconds"]


@dataclass(frozen=True)
class Candidate:
    """An arm of a run, judged by one of its checkpoints; a figure a seed.

    name: as tables and plots have it, different for each candidate.
    arm: as recipes have it.
    flops, seconds: charged to the arm, the stage before it included; without those that cannot be compared.
    robust, clean: fractions of the test images.
    jobs: how many ran at a time, at most, while the seconds were taken.
    machines: on how many the run was computed.
    no_seconds: why there are none, after "they were taken"; empty where there are.
    """

    name: str
    arm: str
    weights: CheckpointName
    flops: tuple[float, ...]
    seconds: tuple[float, ...]
    robust: tuple[float, ...]
    clean: tuple[float, ...]
    jobs: int = 1
    machines: int = 1
    no_seconds: str = ""

    def cost(self, cost: Cost) -> tuple[float, ...]:
        """The FLOPs or the seconds."""
        return self.flops if cost == "flops" else self.seconds

    @property
    def marks(self) -> str:
        """The marks of its seconds."""
        return seconds_marks(self.jobs, self.machines)


@dataclass(frozen=True)
class Frontier:
    """Candidates with one yardstick, over the same seeds.

    judge: the attack under which they are robust.
    images: number of test images that were attacked.
    title: data, network, threat model and seeds, in a line.
    remarks: which seeds are not there, and why, and what the runs do not share, in sentences.
    chance: the accuracy, a fraction, that one class for all images may reach (`chance.chance_accuracy`).
    """

    candidates: tuple[Candidate, ...]
    seeds: tuple[int, ...]
    judge: Judge
    images: int
    title: str
    remarks: str = ""
    chance: float = 0.0

    def __getitem__(self, name: str) -> Candidate:
        return next(candidate for candidate in self.candidates if candidate.name == name)

    def reference(self, name: str) -> Candidate:
        """The candidate of that name; else the first whose arm it is. Raises InputError for another name."""
        by_name = [candidate for candidate in self.candidates if candidate.name == name]
        by_arm = [candidate for candidate in self.candidates if candidate.arm == name]
        if not by_name + by_arm:
            names = ", ".join(repr(candidate.name) for candidate in self.candidates)
            raise InputError(f"there is no arm {name!r} on this frontier: choose --of from {names}")
        return (by_name + by_arm)[0]

    def by_cost(self, cost: Cost) -> list[Candidate]:
        """The candidates whose cost is known, the cheapest first; of equal ones the most accurate first."""
        points = self.points(cost)
        names = sorted(points, key=lambda name: (points[name][0], -points[name][1]))
        return [self[name] for name in names]

    def points(self, cost: Cost) -> Points:
        """The mean cost and the mean robust accuracy of each candidate whose cost is known."""
        known = [candidate for candidate in self.candidates if candidate.cost(cost)]
        return {c.name: (mean(c.cost(cost)), mean(c.robust)) for c in known}

    def contenders(self, cost: Cost) -> Points:
        """The same of those that may be on the front: they are more robust than one class for all images."""
        return {name: point for name, point in self.points(cost).items() if not self.is_at_chance(name)}

    def is_at_chance(self, name: str) -> bool:
        """Whether a candidate is no more robust than one class for all images."""
        return is_at_chance(self[name].robust, self.chance)

    def seed_points(self, cost: Cost) -> Sequence[Points]:
        """The same of each seed."""
        known = [self[name] for name in self.contenders(cost)]
        n = len(self.seeds)
        return [{c.name: (c.cost(cost)[i], c.robust[i]) for c in known} for i in range(n)]
