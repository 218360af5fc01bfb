"""Where every second, pass and FLOP of a stage went.

A phase's seconds exclude those of the phases inside it, so that phases and `other` add up to the stage by
construction: the ledger keeps one list of marks, and the time between two marks belongs to one phase.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, get_args

T = TypeVar("T")

Stage = Literal["search", "train", "evaluate"]
Phase = Literal["load", "data", "attack", "update", "validate", "prune", "checkpoint", "compile", "other"]
PHASES: tuple[Phase, ...] = get_args(Phase)

CHARGED_PHASES: tuple[Phase, ...] = tuple(p for p in PHASES if p not in ("load", "validate"))
"""Phases that an arm is charged for: not reading the data, and not looking at validation images."""

FORWARD_COST = 1
INPUT_BACKWARD_COST = 1
FULL_BACKWARD_COST = 2
"""Cost of a pass in forward passes: the usual convention, which does not deduct the first layer's share."""


class Clock(Protocol):
    """A way to mark moments now and to read the seconds between them later."""

    def mark(self) -> Any:
        """The moment now."""

    def seconds(self, begin: Any, end: Any) -> float:
        """Seconds between two marks."""


class HostClock:
    """The host's monotonic clock: right wherever a call returns when its work is done."""

    def mark(self) -> float:
        """The moment now."""
        return time.perf_counter()

    def seconds(self, begin: float, end: float) -> float:
        """Seconds between two marks."""
        return end - begin


class CudaClock:
    """Events in a GPU's stream: marking does not wait, reading does."""

    def mark(self) -> Any:
        """Record an event in the current stream."""
        import torch

        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def seconds(self, begin: Any, end: Any) -> float:
        """Seconds between two events, after the later one."""
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1000


def clock_for(device: str) -> Clock:
    """The clock that tells the truth on that device."""
    return CudaClock() if device.startswith("cuda") else HostClock()


@dataclass
class Passes:
    """Samples through a net once, by kind."""

    forward: int = 0
    input_backward: int = 0
    full_backward: int = 0

    def add(self, other: "Passes") -> None:
        """Count another's passes too."""
        self.forward += other.forward
        self.input_backward += other.input_backward
        self.full_backward += other.full_backward

    def minus(self, other: "Passes") -> "Passes":
        """What is more here than in another."""
        return Passes(
            self.forward - other.forward,
            self.input_backward - other.input_backward,
            self.full_backward - other.full_backward,
        )

    def times(self, n: int) -> "Passes":
        """So many times these passes."""
        return Passes(self.forward * n, self.input_backward * n, self.full_backward * n)

    @property
    def total(self) -> int:
        """All passes, whatever their kind."""
        return self.forward + self.input_backward + self.full_backward

    @property
    def cost(self) -> int:
        """The passes in units of one forward pass."""
        return (
            self.forward * FORWARD_COST
            + self.input_backward * INPUT_BACKWARD_COST
            + self.full_backward * FULL_BACKWARD_COST
        )


@dataclass
class Ledger:
    """The account of one stage. `jobs` is how many were under way beside each other, at most."""

    stage: Stage
    clock: Clock = field(default_factory=HostClock)
    jobs: int = 1
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    passes: dict[str, Passes] = field(default_factory=lambda: {p: Passes() for p in PHASES})
    flops: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PHASES, 0))
    epoch_seconds: list[float] = field(default_factory=list)
    """charged seconds at the end of each epoch, so far"""
    _marks: list[tuple[Any, str]] = field(default_factory=list)
    _open: list[str] = field(default_factory=list)

    @contextmanager
    def measure(self) -> Iterator["Ledger"]:
        """The whole stage; what no phase claims in it is `other`."""
        with self.phase("other"):
            yield self
        self.settle()
        self._marks.clear()

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Time within the block belongs to this phase, but for the phases opened inside it."""
        self._open.append(name)
        self._marks.append((self.clock.mark(), name))
        try:
            yield
        finally:
            self._open.pop()
            self._marks.append((self.clock.mark(), self._open[-1] if self._open else ""))

    def charge_each(self, name: Phase, items: Iterator[T]) -> Iterator[T]:
        """The items, with the time that getting each of them took charged to the phase."""
        while True:
            with self.phase(name):
                item = next(items, None)
            if item is None:
                return
            yield item

    def settle(self) -> None:
        """Read the marks kept so far. On a GPU this waits, so it is called once an epoch, not once a step."""
        if self._open:  # what the phase under way has taken counts too
            self._marks.append((self.clock.mark(), self._open[-1]))
        for (begin, phase), (end, _) in zip(self._marks, self._marks[1:], strict=False):
            if phase:
                self.seconds[phase] += self.clock.seconds(begin, end)
        del self._marks[:-1]

    def end_epoch(self) -> None:
        """Note that an epoch is over; what it took is as settled."""
        self.epoch_seconds.append(round(self._charged_seconds, 6))

    def count(self, phase: Phase, passes: Passes, forward_flops: int) -> None:
        """Charge passes of a net whose forward pass costs `forward_flops` a sample."""
        self.passes[phase].add(passes)
        self.flops[phase] += passes.cost * forward_flops

    def add_report(self, report: dict[str, Any]) -> None:
        """Add the account of an earlier part of the same stage, as `report` gave it."""
        for phase, seconds in report["seconds"].items():
            self.seconds[phase] += seconds
        for phase, passes in report["passes"].items():
            self.passes[phase].add(Passes(**passes))
        for phase, flops in report["flops"].items():
            self.flops[phase] += flops
        self.epoch_seconds += map(float, report["epoch_seconds"])
        self.jobs = max(self.jobs, int(report.get("jobs", 1)))

    @property
    def step_seconds(self) -> float:
        """Seconds in a training's steps, as settled so far: data, attack and update."""
        return self.seconds["data"] + self.seconds["attack"] + self.seconds["update"]

    @property
    def _charged_seconds(self) -> float:
        return sum(self.seconds[p] for p in CHARGED_PHASES)

    @property
    def charged_passes(self) -> int:
        """Passes of the phases that an arm is charged for."""
        return sum(self.passes[p].total for p in CHARGED_PHASES)

    @property
    def charged_flops(self) -> int:
        """FLOPs of the phases that an arm is charged for."""
        return sum(self.flops[p] for p in CHARGED_PHASES)

    def report(self) -> dict[str, Any]:
        """The account as plain values; seconds, passes (samples) and FLOPs, each by phase and in total."""
        return {
            "stage": self.stage,
            "seconds": {p: round(s, 6) for p, s in self.seconds.items() if s},
            "passes": {p: dict(vars(passes)) for p, passes in self.passes.items() if passes.total},
            "flops": {p: flops for p, flops in self.flops.items() if flops},
            "total_seconds": round(sum(self.seconds.values()), 6),
            "charged_seconds": round(self._charged_seconds, 6),
            "charged_passes": self.charged_passes,
            "charged_flops": self.charged_flops,
            "epoch_seconds": list(self.epoch_seconds),
            **({"jobs": self.jobs} if self.jobs > 1 else {}),
        }
