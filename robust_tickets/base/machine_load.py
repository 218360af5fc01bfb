"""How busy the machine was with other programs, and how fast it was, while seconds were taken."""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robust_tickets.base.lazy import torch

LEAST_SECONDS = 2.0
"""A shorter stretch says nothing: the kernel counts in hundredths of a second."""

SPARE = 0.1
"""Cores a thread that other programs may take of those that it runs on before seconds count as too high."""

_STAT = Path("/proc/stat")
_IDLE = (3, 4)  # the columns idle and iowait
_COLUMNS = 8  # user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already
_REPEATS = 9


@dataclass
class MachineLoad:
    """What else the machine did while a stage was measured, over all its parts.

    seconds: that were watched, by the wall clock; 0 where the system does not tell.
    others: core-seconds in them that went to other programs, or to other virtual machines of the same host.
    cores: of the machine; threads: of PyTorch.
    load_average: of the minute before the first part; None where the system does not tell.
    convolutions: milliseconds of a fixed convolution, at the beginning and at the end of each part.
    """

    seconds: float = 0.0
    others: float = 0.0
    cores: int = 0
    threads: int = 0
    load_average: float | None = None
    convolutions: list[float] = field(default_factory=list)
    _begin: tuple[float, float, float] | None = None

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Count the block as a part that is measured."""
        if self.load_average is None and hasattr(os, "getloadavg"):
            self.load_average = round(os.getloadavg()[0], 2)
        self._begin = _now()
        try:
            yield
        finally:
            self._take()
            self._begin = None

    def _take(self) -> None:
        """Count what has passed since the beginning of the part, or since this was last called."""
        if self._begin is None:
            return
        self.cores, self.threads = os.cpu_count() or 0, torch.get_num_threads() * (1 + len(_own))
        now = _now()
        if now is not None:
            wall, busy, own = (new - old for new, old in zip(now, self._begin, strict=True))
            self.seconds += wall
            self.others += max(0.0, busy - own)
        self._begin = now

    def add_report(self, report: dict[str, Any]) -> None:
        """Add the report of an earlier part of the same stage."""
        self.seconds += report["seconds"]
        self.others += report["others"]
        self.load_average = report["load_average"]
        self.convolutions = [*report["convolutions"], *self.convolutions]

    def report(self) -> dict[str, Any]:
        """The figures as plain values, up to now."""
        self._take()
        return {
            "seconds": round(self.seconds, 2),
            "others": round(self.others, 2),
            "cores": self.cores,
            "threads": self.threads,
            "load_average": self.load_average,
            "convolutions": [round(milliseconds, 4) for milliseconds in self.convolutions],
        }

    @property
    def warning(self) -> str:
        """What to know of the seconds of a busy machine; empty where it was quiet."""
        report = self.report()
        if not crowding(report):
            return ""
        taken = f"{other_cores(report):.1f} of {self.cores} cores"
        return f"other programs took {taken} meanwhile, so that these seconds are too high"

    def time_convolution(self, clock: Any, device: str) -> None:
        """Time a fixed convolution: the best of several, which other programs hardly slow down.

        clock: of the device, as ledgers have it.
        """
        images = torch.ones(8, 32, 16, 16, device=device)
        weight = torch.ones(32, 32, 3, 3, device=device)
        seconds = []
        with torch.no_grad():
            for _ in range(_REPEATS + 1):  # the first one warms up
                begin = clock.mark()
                torch.nn.functional.conv2d(images, weight, padding=1)
                seconds.append(clock.seconds(begin, clock.mark()))
        self.convolutions.append(1000 * min(seconds[1:]))


def other_cores(report: Mapping[str, Any]) -> float:
    """How many cores went to other programs, on average; report: as `MachineLoad.report` gives it."""
    return float(report["others"] / report["seconds"])


def crowding(report: Mapping[str, Any]) -> float:
    """How many cores other programs took of those that the threads need; 0 where that cannot be told."""
    if report["seconds"] < LEAST_SECONDS:
        return 0.0
    taken = other_cores(report) - max(0, report["cores"] - report["threads"])
    return taken if taken > SPARE * report["threads"] else 0.0


_SLOWDOWN = "the machine slowed down: a step took {} times as long as before"


def slowdown_warning(times: float) -> str:
    """The warning of a training whose steps take so many times as long as they did."""
    return _SLOWDOWN.format(f"{times:.1f}")


def slowdown(warning: str) -> float | None:
    """How many times as long a step took, by a warning that ends as `slowdown_warning` has it; else None."""
    found = re.search(_SLOWDOWN.format(r"(\d+\.\d)") + "$", warning)
    return None if found is None else float(found[1])


def _now() -> tuple[float, float, float] | None:
    """Wall clock, and seconds of all cores and of this process; None where the system does not tell.

    The host's clock ticks count as the cores' time; time that a hypervisor took counts as busy.
    """
    try:
        with _STAT.open(encoding="ascii") as file:
            columns = [int(text) for text in file.readline().split()[1 : _COLUMNS + 1]]
    except (OSError, ValueError):
        return None
    ticks = sum(number for column, number in enumerate(columns) if column not in _IDLE)
    if not ticks:  # some sandboxes show zeros
        return None
    own = os.times()
    process = own.user + own.system + own.children_user + own.children_system
    a_second = os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), ticks / a_second, process + sum(map(_ticks_of, _own)) / a_second


_own: list[int] = []


def count_as_own(processes: Sequence[int]) -> None:
    """Count what these processes compute as this one's, in place of those named before.

    processes: their numbers, of processes of this machine.
    """
    _own[:] = processes


def _ticks_of(process: int) -> int:
    """Clock ticks that another process has computed for; 0 once it is gone."""
    try:
        # what follows the name, which may have blanks and brackets
        columns = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (OSError, ValueError):
        return 0
    return int(columns[11]) + int(columns[12])
