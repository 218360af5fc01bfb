"""Measuring side by side: ways to do one thing alternate, and each measurement is kept as it is made."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Records:
    """Measurements in a JSON-lines file; a key that is there is not measured again."""

    file: Path

    def all(self) -> list[dict[str, Any]]:
        """What was measured so far."""
        if not self.file.is_file():
            return []
        return [json.loads(line) for line in self.file.read_text(encoding="utf-8").splitlines()]

    def add(self, record: dict[str, Any]) -> None:
        """Keep one more."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def begin(self, about: dict[str, Any]) -> None:
        """Say what the measurements are taken on, or stop where they were begun on something else."""
        known = [record for record in self.all() if record.get("kind") == "about"]
        if not known:
            self.add({"kind": "about", **about})
        elif known[0] != {"kind": "about", **about}:
            sys.exit(f"{self.file} was begun with {known[0]}, this is {about}: choose another --out")

    def has(self, **key: object) -> bool:
        """Whether a measurement with these values is there."""
        return any(key.items() <= record.items() for record in self.all())


def alternate(
    records: Records, ways: Mapping[str, Callable[[], dict[str, Any]]], repeats: int, **key: object
) -> None:
    """Run each of the ways once unmeasured and then `repeats` times in turn, and keep what they give, with
    the seconds that they took.

    Each round begins one way further on, so that no way always comes after the same other. The unmeasured
    run is left out with one repeat: such runs are long, and what a first run pays is nothing to them. What
    was measured earlier counts, so that a run that was stopped goes on.
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
            found = way()
            records.add({"library": library, "repeat": repeat, **key, **found})
            said = "  ".join(f"{name} {value}" for name, value in {**key, **found}.items())
            print(f"{library:<12}  {said}", flush=True)


class Counted(nn.Module):
    """A net that counts the samples that go forward through it, and those whose gradient comes back."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.forwards = self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        self.forwards += len(images)
        logits: Tensor = self.net(images)
        if logits.requires_grad:
            logits.register_hook(self._back)
        return logits

    def _back(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)

    def take(self) -> tuple[int, int]:
        """Forwards and backwards since the last call."""
        taken = self.forwards, self.backwards
        self.forwards = self.backwards = 0
        return taken


def peak_memory(work: Callable[[], object]) -> float:
    """By how much this process's resident memory rises at the work's peak, in MiB (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak of what came before
    before = _status("VmRSS")
    work()
    return round((_status("VmHWM") - before) / 1024, 1)


def _status(name: str) -> int:
    """A size of this process, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def medians(records: list[dict[str, Any]], name: str) -> float:
    """The median of a value over repeats."""
    return median(record[name] for record in records)


def paired(records: list[dict[str, Any]], others: list[dict[str, Any]], name: str) -> list[float]:
    """A value over the others' of the same round, by size: what changes from round to round falls out."""
    of = {record["repeat"]: record[name] for record in others}
    return sorted(record[name] / of[record["repeat"]] for record in records)


def spread(records: list[dict[str, Any]], name: str) -> str:
    """Smallest to largest, where there are several."""
    values = [record[name] for record in records]
    return "" if len(values) == 1 else f"{min(values):.2f} to {max(values):.2f}"


def machine(threads: int) -> str:
    """The machine in a line."""
    from robust_tickets.base.machine import describe_machine as about

    told = about("cpu", threads)
    return f"{told['cpu']}, {told['cores']} cores, {threads} threads, torch {torch.__version__}"
