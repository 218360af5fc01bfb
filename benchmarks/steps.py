"""Seconds of a step of PGD adversarial training: ours, what a user would write, and the bare passes.

    python -m benchmarks.steps --out runs/bench/steps

All ways of a network are measured in one process and in turn, after a warm-up of each. Writes
measurements.jsonl as it goes (a stopped run resumes) and steps.md; see benchmarks/step_ways.py.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import tyro

from benchmarks.measuring import Records, alternate, machine
from benchmarks.step_table import table
from benchmarks.step_ways import (
    LOADERS,
    MAIN,
    NETS,
    OURS,
    WAYS,
    Case,
    is_supported,
    peak,
    prepare,
    time_batches,
    time_step,
)
from robust_tickets.runs.files import write_text


@dataclass(frozen=True)
class Settings:
    """The measurements to take."""

    out: Path = Path("runs/bench/steps")
    """folder of the measurements and the table"""
    attack_steps: tuple[int, ...] = (7, 10)
    """steps of the training attack"""
    steps: int = 2
    """training steps of a measurement"""
    repeats: int = 5
    """measurements of each"""
    images: int = 50_000
    """images of the epoch of which the batches are timed"""
    threads: int = 2
    """CPU threads"""


def main(settings: Settings) -> None:
    """Take the missing measurements and write the table."""
    prepare(settings.threads)
    records = Records(settings.out / "measurements.jsonl")
    records.begin({"machine": machine(settings.threads)})
    loaders = {way: partial(time_batches, way, settings.images) for way in (OURS, *LOADERS)}
    alternate(records, loaders, min(3, settings.repeats), kind="data", n=settings.images)
    for attack_steps in settings.attack_steps:
        for net in NETS:
            case = Case(net, attack_steps, settings.steps)
            first = attack_steps == settings.attack_steps[0]
            names = [way for way in WAYS if is_supported(way)] if first else MAIN
            ways = {way: partial(time_step, way, case) for way in names}
            alternate(records, ways, settings.repeats, kind="step", net=net, attack_steps=attack_steps)
            for way in names:
                key = {"kind": "memory", "net": net, "attack_steps": attack_steps, "library": way}
                if not records.has(**key):
                    records.add({**key, "mib": _peak(way, case, settings.threads)})
    write_text(settings.out / "steps.md", table(records))
    print(settings.out / "steps.md")


def _peak(way: str, case: Case, threads: int) -> float:
    """The peak of a way in a process of its own, so that none reuses memory that another has freed."""
    with ProcessPoolExecutor(1, get_context("spawn"), prepare, (threads,)) as process:
        return process.submit(peak, way, case).result()


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
