"""The ledger of a stage: its seconds, passes and FLOPs by phase."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from robust_tickets.base.devices import device_module
from robust_tickets.base.machine_load import MachineLoad

T = TypeVar("T")

Stage = Literal["search", "train", "evaluate"]
Phase = Literal[
    "load", "data", "attack", "update", "average", "validate", "prune", "checkpoint", "compile", "other"
]
PHASES: tuple[Phase, ...] = get_args(Phase)

CHARGED_PHASES: tuple[Phase, ...] = tuple(p for p in PHASES if p not in ("load", "validate"))
"""Phases that an arm is charged for: all but loading the data and validation."""

FORWARD_COST = 1
INPUT_BACKWARD_COST = 1
FULL_BACKWARD_COST = 2
"""Cost of each kind of pass, in forward passes: the usual convention."""


class Clock:
    """The host's monotonic clock, for devices whose calls return when their work is done."""

    def mark(self) -> Any:
        """A mark of this point in time."""
        return time.perf_counter()

    def seconds(self, begin: Any, end: Any) -> float:
        """Seconds between two marks."""
        return float(end - begin)


class GPUClock(Clock):
    """Events in a GPU's stream: a mark does not wait for the GPU, reading the seconds does.

    device: torch device, or its kind.
    """

    def __init__(self, device: str) -> None:
        self._module = device_module(device)

    def mark(self) -> Any:
        event = self._module.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, begin: Any, end: Any) -> float:
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1000


def clock_for(device: str) -> Clock:
    """The clock that is right for a device."""
    return Clock() if device == "cpu" else GPUClock(device)


@dataclass
class Passes:
    """Passes of single samples through a network, by kind."""

    forward: int = 0
    input_backward: int = 0
    full_backward: int = 0

    def add(self, other: "Passes") -> None:
        """Add other passes to these."""
        self.forward += other.forward
        self.input_backward += other.input_backward
        self.full_backward += other.full_backward

    def minus(self, other: "Passes") -> "Passes":
        """These passes without others."""
        return Passes(
            self.forward - other.forward,
            self.input_backward - other.input_backward,
            self.full_backward - other.full_backward,
        )

    @property
    def total(self) -> int:
        """The number of passes of all kinds."""
        return self.forward + self.input_backward + self.full_backward

    @property
    def cost(self) -> int:
        """The cost of all passes, in forward passes."""
        return (
            self.forward * FORWARD_COST
            + self.input_backward * INPUT_BACKWARD_COST
            + self.full_backward * FULL_BACKWARD_COST
        )


@dataclass
class Ledger:
    """Seconds, passes and FLOPs of one stage, by phase.

    The seconds of a phase exclude those of the phases inside it, so that all phases add up to the stage: the
    ledger has one list of time marks, and the time between two marks belongs to one phase.
    """

    stage: Stage
    clock: Clock = field(default_factory=Clock)
    jobs: int = 1
    """the largest number of jobs that ran at the same time"""
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    passes: dict[str, Passes] = field(default_factory=lambda: {p: Passes() for p in PHASES})
    flops: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PHASES, 0))
    epoch_seconds: list[float] = field(default_factory=list)
    """charged seconds at the end of each epoch"""
    precision: str = ""
    """of the training passes, as the machine computed them; "": there were none"""
    load: MachineLoad = field(default_factory=MachineLoad)
    """what else the machine did meanwhile"""
    _marks: list[tuple[Any, str]] = field(default_factory=list)
    _open: list[str] = field(default_factory=list)

    @contextmanager
    def measure(self) -> Iterator["Ledger"]:
        """Time the block as the whole stage; time outside of any phase is `other`."""
        with self.load.watch(), self.phase("other"):
            yield self
        self.settle()
        self._marks.clear()

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Charge the time of the block to a phase, without that of phases inside it."""
        self._open.append(name)
        self._marks.append((self.clock.mark(), name))
        try:
            yield
        finally:
            self._open.pop()
            self._marks.append((self.clock.mark(), self._open[-1] if self._open else ""))

    def calibrate(self, device: str) -> None:
        """Time a fixed convolution, at nobody's charge: seconds of slower minutes can be told by it."""
        with self.phase("load"):
            self.load.time_convolution(self.clock, device)

    def charge_each(self, name: Phase, items: Iterator[T]) -> Iterator[T]:
        """Give the items, and charge the time that getting each of them takes to a phase."""
        while True:
            with self.phase(name):
                item = next(items, None)
            if item is None:
                return
            yield item

    def settle(self) -> None:
        """Turn the marks so far into seconds. This waits for a GPU, so it is done once an epoch."""
        if self._open:  # the time of the current phase so far counts too
            self._marks.append((self.clock.mark(), self._open[-1]))
        for (begin, phase), (end, _) in zip(self._marks, self._marks[1:], strict=False):
            if phase:
                self.seconds[phase] += self.clock.seconds(begin, end)
        del self._marks[:-1]

    def end_epoch(self) -> None:
        """Record the charged seconds at the end of an epoch; `settle` comes first."""
        self.epoch_seconds.append(round(self._charged_seconds, 6))

    def count(self, phase: Phase, passes: Passes, forward_flops: int) -> None:
        """Charge passes to a phase.

        forward_flops: FLOPs of a forward pass of one sample.
        """
        self.passes[phase].add(passes)
        self.flops[phase] += passes.cost * forward_flops

    def add_report(self, report: dict[str, Any]) -> None:
        """Add the report of an earlier part of the same stage."""
        for phase, seconds in report["seconds"].items():
            self.seconds[phase] += seconds
        for phase, passes in report["passes"].items():
            self.passes[phase].add(Passes(**passes))
        for phase, flops in report["flops"].items():
            self.flops[phase] += flops
        self.epoch_seconds += map(float, report["epoch_seconds"])
        self.jobs = max(self.jobs, int(report.get("jobs", 1)))
        self.precision = self.precision or str(report.get("precision", ""))
        self.load.add_report(report["machine_load"])

    @property
    def step_seconds(self) -> float:
        """Seconds of training steps, as settled: data, attack and update."""
        return self.seconds["data"] + self.seconds["attack"] + self.seconds["update"]

    @property
    def step_flops(self) -> int:
        """FLOPs of training steps: attack and update."""
        return self.flops["attack"] + self.flops["update"]

    @property
    def _charged_seconds(self) -> float:
        return sum(self.seconds[p] for p in CHARGED_PHASES)

    @property
    def charged_passes(self) -> int:
        """Passes of the charged phases."""
        return sum(self.passes[p].total for p in CHARGED_PHASES)

    @property
    def charged_flops(self) -> int:
        """FLOPs of the charged phases."""
        return sum(self.flops[p] for p in CHARGED_PHASES)

    def report(self) -> dict[str, Any]:
        """The ledger as plain values: seconds, passes and FLOPs, by phase and in total."""
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
            **({"precision": self.precision} if self.precision else {}),
            **({"jobs": self.jobs} if self.jobs > 1 else {}),
            "machine_load": self.load.report(),
        }
