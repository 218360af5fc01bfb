"""How long trainings take alone and beside one busy process, for several ways of idle threads to wait.

    python -m benchmarks.crowded --out runs/bench/crowded

Idle OpenMP threads spin while they wait for work, and take a core from whatever else runs. Each measurement
is a training in a process of its own, with or without a bound on the spinning in its environment. Ways take
turns, and ratios compare measurements of one round. Writes measurements.jsonl as it goes (a stopped run
resumes) and crowded.md.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import tyro

from benchmarks.measuring import Records, alternate, machine, median_of, paired_ratios
from robust_tickets.runs.files import write_text

UNBOUNDED = "as it comes"
WAYS = {
    UNBOUNDED: {},
    "GOMP_SPINCOUNT=2000": {"GOMP_SPINCOUNT": "2000"},
    "GOMP_SPINCOUNT=4000": {"GOMP_SPINCOUNT": "4000"},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
}
"""Environment variables by the name of a way to wait."""

TRAININGS = {
    "demo": """
trained = rt.train(recipe="demo", train={{"epochs": {epochs}}})
""",
    "VGG-16 x0.25": """
import torch
torch.manual_seed(0)
def noise(n):
    return torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8), torch.arange(n) % 10
data = rt.images(train=noise({images}), test=noise(20), val_images=20)
trained = rt.train(None, data, recipe="cifar10-cpu", train={{"epochs": 1, "ticket_epochs": 1}},
                   evaluate={{"early_epochs": 0, "val_steps": 1}})
""",
}
"""Code of a training by its name, for a child that has `robust_tickets` as rt."""


@dataclass(frozen=True)
class Settings:
    """The measurements to take."""

    out: Path = Path("runs/bench/crowded")
    """folder of the measurements and the table"""
    epochs: int = 4
    """epochs of demo"""
    images: int = 1300
    """images of VGG-16's one epoch"""
    repeats: int = 9
    """measurements of each alone, where a few per cent are looked for"""
    busy_repeats: int = 3
    """measurements of each beside a busy process, which may take fifty times as long"""


def main(settings: Settings) -> None:
    """Take the missing measurements and write the table."""
    records = Records(settings.out / "measurements.jsonl")
    records.begin({"machine": machine(2), "epochs": settings.epochs, "images": settings.images})
    for training, code in TRAININGS.items():
        code = code.format(epochs=settings.epochs, images=settings.images)
        for busy in (0, 1):
            ways: dict[str, Callable[[], dict[str, Any]]] = {
                way: partial(time_training, code, variables, busy) for way, variables in WAYS.items()
            }
            repeats = settings.busy_repeats if busy else settings.repeats
            alternate(records, ways, repeats, training=training, busy=busy)
    write_text(settings.out / "crowded.md", table(records))
    print(settings.out / "crowded.md")


def time_training(code: str, variables: dict[str, str], busy: int) -> dict[str, Any]:
    """Charged seconds of a training in a process of its own, beside `busy` busy processes."""
    ours = {name for way in WAYS.values() for name in way}
    environment = {name: value for name, value in os.environ.items() if name not in ours} | variables
    lines = "import robust_tickets as rt", "rt.show_progress(False)", code
    child = "\n".join([*lines, "print(trained.ledger['charged_seconds'])"])
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", child],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        for other in others:
            other.kill()
            other.wait()
    return {"seconds": json.loads(result.stdout.splitlines()[-1])}


def table(records: Records) -> str:
    """Seconds alone and beside a busy process, and their ratios to the unbounded training alone."""
    about, *rows = records.all()
    lines = [
        "| training | idle threads | alone, s | of unbounded | beside a busy process, s | of itself alone |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for training in TRAININGS:
        groups = {
            (way, busy): [
                r for r in rows if (r["training"], r["library"], r["busy"]) == (training, way, busy)
            ]
            for way in WAYS
            for busy in (0, 1)
        }
        for way in WAYS:
            alone, beside = groups[way, 0], groups[way, 1]
            slower = median(paired_ratios(alone, groups[UNBOUNDED, 0], "seconds"))
            crowded = median(paired_ratios(beside, alone, "seconds"))
            lines.append(
                f"| {training} | {way} | {median_of(alone, 'seconds'):.1f} | {slower:.2f} | "
                f"{median_of(beside, 'seconds'):.1f} | {crowded:.2f} |"
            )
    alone, beside = (len({row["repeat"] for row in rows if row["busy"] == busy}) for busy in (0, 1))
    note = (
        f"Charged seconds of a training on two threads, medians of {alone} alone and {beside} beside a busy "
        f"process; ratios are medians within rounds. Machine: {about['machine']}."
    )
    return "\n".join([*lines, "", note, ""])


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
