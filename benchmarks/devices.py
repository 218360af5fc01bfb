"""What sharing a training costs: a step by two processes beside one of one process, on the same cores.

    python -m benchmarks.devices --out runs/bench/devices

VGG-16 at a quarter of its width under PGD-7, batch 128, float32, on noise of CIFAR-10's shape. On a CPU two
processes have no cores that two threads lack: the ratio is what the processes cost, not what a second GPU
gains. Writes measurements.jsonl and devices.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import tyro

from benchmarks.measuring import Records, alternate, machine, median_of, paired_ratios
from robust_tickets.attacks import ThreatModel
from robust_tickets.base.followers import end_followers, process_group
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.process_group import ALONE, ProcessGroup
from robust_tickets.data.dataset import SPECS, Dataset, number_samples
from robust_tickets.models import registry
from robust_tickets.models.placement import place_net
from robust_tickets.recipe.fields import Compute, Evaluate
from robust_tickets.recipe.training_fields import Training
from robust_tickets.runs.files import write_text
from robust_tickets.training.config import Session, TrainingConfig
from robust_tickets.training.loop import fit
from robust_tickets.training.methods.pgd import PGDSettings

BATCH = 128


@dataclass(frozen=True)
class Settings:
    """Where the measurements go, and how long they are."""

    out: Path = Path("runs/bench/devices")
    """folder of the measurements and the table"""
    steps: int = 8
    """of each training"""
    repeats: int = 5
    """trainings each way, in turn"""
    width: float = 0.25
    """of the network"""


def noise(images: int) -> Dataset:
    """Noise of the shape of CIFAR-10's images, to train on, and a few to validate on."""
    spec, generator = SPECS["cifar10"], torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, *spec.shape), generator=generator).to(torch.uint8)
    split = number_samples(pixels, torch.arange(images) % spec.classes)
    return Dataset(spec, "noise", split, split.first(10), split.first(10), "")


def train(
    settings: Settings, data: Dataset, threads: int, group: Callable[[], ProcessGroup]
) -> dict[str, Any]:
    """Train one way; gives milliseconds of a step."""
    torch.set_num_threads(threads)
    spec = registry.ModelSpec("vgg16", settings.width, data.spec.shape, 10, data.spec.mean, data.spec.std)
    compute = Compute(threads=threads)
    net = place_net(registry.build(spec, seed=0), compute, "cpu")
    training = Training(method="pgd", pgd=PGDSettings(steps=7), batch=BATCH, epochs=1)
    config = TrainingConfig(
        training, settings.steps, ThreatModel("Linf", 8 / 255), Evaluate(val_steps=1), compute, 0
    )
    ledger = Ledger("train")
    with ledger.measure():
        fit(net, None, data, config, Session(ledger, group=group()))
    return {"ms": round(1000 * ledger.step_seconds / settings.steps, 1)}


def table(records: Records) -> str:
    """The measurements as Markdown."""
    about, *rows = records.all()
    by_way: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_way.setdefault(row["library"], []).append(row)
    base = by_way["1 process, 2 threads"]
    lines = ["| way | ms a step | of one process with two threads |", "| --- | ---: | ---: |"]
    for way, found in by_way.items():
        ratios = paired_ratios(found, base, "ms")
        of_base = f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        lines.append(f"| {way} | {median_of(found, 'ms'):.0f} | {of_base} |")
    text = (
        f"Medians of {len(base)} trainings of {about['steps']} steps, in turn; ratios by round, their median "
        f"and ends. {about['machine']}."
    )
    return "\n".join(["# A step shared by processes", "", text, "", *lines, ""])


def main() -> None:
    """Measure what is not measured yet, and write the table."""
    settings = tyro.cli(Settings, description=__doc__)
    records, data = Records(settings.out / "measurements.jsonl"), noise(settings.steps * BATCH)
    records.begin(
        {
            "machine": machine(2).replace("2 threads", "2 threads in all"),
            "steps": settings.steps,
            "width": settings.width,
        }
    )
    ways = {
        "1 process, 1 thread": partial(train, settings, data, 1, lambda: ALONE),
        "1 process, 2 threads": partial(train, settings, data, 2, lambda: ALONE),
        "2 processes, 1 thread each": partial(
            train, settings, data, 1, partial(process_group, ["cpu", "cpu"])
        ),
    }
    try:
        alternate(records, ways, settings.repeats)
    finally:
        end_followers()
    write_text(settings.out / "devices.md", table(records))
    print(table(records))


if __name__ == "__main__":
    main()
