"""Measures several ways to do one thing in turn, and writes down each measurement at once."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from torch import Tensor, nn

from robust_tickets.base.machine import describe_machine


@dataclass(frozen=True)
class Records:
    """Measurements in a JSON-lines file, one object a line."""

    file: Path

    def all(self) -> list[dict[str, Any]]:
        """All measurements so far."""
        if not self.file.is_file():
            return []
        return [json.loads(line) for line in self.file.read_text(encoding="utf-8").splitlines()]

    def add(self, record: dict[str, Any]) -> None:
        """Append a measurement."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def begin(self, about: dict[str, Any]) -> None:
        """Record the conditions of the measurements; exit where the file has others."""
        header = {"kind": "about", **about}
        headers = [record for record in self.all() if record.get("kind") == "about"]
        if not headers:
            self.add(header)
        elif headers[0] != header:
            sys.exit(f"{self.file} was begun with {headers[0]}, this is {about}: choose another --out")

    def has(self, **key: object) -> bool:
        """Whether there is a measurement with these values."""
        return any(key.items() <= record.items() for record in self.all())


def alternate(
    records: Records, ways: Mapping[str, Callable[[], dict[str, Any]]], repeats: int, **key: object
) -> None:
    """Run each way once to warm up, then `repeats` times in turn, and record what it returns.

    records: takes the measurements; those that it has are not repeated, so that a stopped run resumes.
    ways: functions that measure themselves, by name.
    key: values that go into each record.

    Each round begins one way further on, so that no way always follows the same other. With one repeat there
    is no warm-up: such runs are long, and their first seconds hardly matter.
    """
    warm = set()
    turns = list(ways.items())
    for repeat in range(repeats):
        first = repeat % len(turns)
        for library, way in turns[first:] + turns[:first]:
            if records.has(library=library, repeat=repeat, **key):
                continue
            if library not in warm and repeats > 1:
                way()
                warm.add(library)
            values = {**key, **way()}
            records.add({"library": library, "repeat": repeat, **values})
            line = "  ".join(f"{name} {value}" for name, value in values.items())
            print(f"{library:<12}  {line}", flush=True)


class PassCounter(nn.Module):
    """A network that counts the samples of its forward and backward passes."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.forwards = self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        self.forwards += len(images)
        logits: Tensor = self.net(images)
        if logits.requires_grad:
            logits.register_hook(self._count_backward)
        return logits

    def _count_backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)

    def take(self) -> tuple[int, int]:
        """Forwards and backwards since the last call."""
        counts = self.forwards, self.backwards
        self.forwards = self.backwards = 0
        return counts


def peak_memory(work: Callable[[], object]) -> float:
    """How far the resident memory of this process rises during the work, in MiB (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets earlier peaks
    before = _status("VmRSS")
    work()
    return round((_status("VmHWM") - before) / 1024, 1)


def _status(name: str) -> int:
    """A size of this process, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def median_of(records: list[dict[str, Any]], name: str) -> float:
    """The median of a value over repeats."""
    return median(record[name] for record in records)


def paired_ratios(records: list[dict[str, Any]], others: list[dict[str, Any]], name: str) -> list[float]:
    """The ratios of a value to the others' of the same round, in order: drifts between rounds cancel."""
    by_round = {record["repeat"]: record[name] for record in others}
    return sorted(record[name] / by_round[record["repeat"]] for record in records)


def spread(records: list[dict[str, Any]], name: str) -> str:
    """The smallest to the largest value, where there are several."""
    values = [record[name] for record in records]
    return "" if len(values) == 1 else f"{min(values):.2f} to {max(values):.2f}"


def machine(threads: int) -> str:
    """The machine in a line."""
    about = describe_machine("cpu", threads)
    on = "1 thread" if threads == 1 else f"{threads} threads"
    return f"{about['cpu']}, {about['cores']} cores, {on}, torch {about['torch']}"
