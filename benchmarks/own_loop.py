"""Seconds of a step of PGD-7 in a loop of one's own, with what robust-tickets offers it, and in `train`.

    python -m benchmarks.own_loop --out runs/bench/own-loop

All ways are measured in one process and in turn, after a warm-up. Writes measurements.jsonl as it goes (a
stopped run resumes) and own_loop.md.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import tyro
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import robust_tickets as rt
from benchmarks import methods
from benchmarks.measuring import Records, alternate, machine, median_of, paired_ratios
from benchmarks.step_ways import BATCH, EPS, LR, noise_data, prepare, small_net
from robust_tickets.recipe.training_fields import Train
from robust_tickets.runs.files import write_text
from robust_tickets.training.methods.pgd import PGDSettings

PLAIN, VIEW, BOTH, TRAIN = "own loop", "with the view", "with the view, channels last", "train"


@dataclass(frozen=True)
class Settings(methods.Settings):
    """The measurements to take."""

    out: Path = Path("runs/bench/own-loop")
    """folder of the measurements and the table"""
    steps: int = 6
    """training steps of a measurement"""


def main(settings: Settings) -> None:
    """Take the missing measurements and write the table."""
    prepare(settings.threads)
    records = Records(settings.out / "measurements.jsonl")
    records.begin({"machine": machine(settings.threads), "steps": settings.steps})
    training = Train(method="pgd", pgd=PGDSettings(steps=7))
    for net in settings.nets:
        ways = {
            PLAIN: partial(time_own_loop, net, settings.steps),
            VIEW: partial(time_own_loop, net, settings.steps, view=True),
            BOTH: partial(time_own_loop, net, settings.steps, view=True, channels_last=True),
            TRAIN: partial(methods.time_ours, training, net, settings.steps),
        }
        alternate(records, ways, settings.repeats, kind="own-loop", net=net)
    write_text(settings.out / "own_loop.md", table(records))
    print(settings.out / "own_loop.md")


def time_own_loop(net: str, steps: int, view: bool = False, channels_last: bool = False) -> dict[str, Any]:
    """Seconds of a step of the loop in docs/how-to/own-loop.md."""
    model = small_net(net).train()
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(model.parameters(), LR, momentum=0.9, weight_decay=5e-4)
    attacked = rt.attack_view(model) if view else model
    attack = rt.attacks.PGD(rt.attacks.ThreatModel("Linf", EPS), steps=7)
    begin = time.perf_counter()
    for images, labels in _loader(steps):
        adversarial = attack(attacked, images, labels)
        optimiser.zero_grad()
        F.cross_entropy(model(adversarial), labels).backward()
        optimiser.step()
    return {"seconds": round((time.perf_counter() - begin) / steps, 4)}


def _loader(steps: int) -> DataLoader[tuple[Tensor, ...]]:
    split = noise_data(steps).train
    images = split.images.float().div(255)
    return DataLoader(TensorDataset(images, split.labels), batch_size=BATCH, shuffle=True)


def table(records: Records) -> str:
    """Seconds of a step by network and way, and their ratio to those of `train`."""
    about, *rows = records.all()
    lines = [
        "| net | way | seconds a step | times the seconds of `train` | spread |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    for net in dict.fromkeys(row["net"] for row in rows):
        by_way = {
            way: [row for row in rows if (row["net"], row["library"]) == (net, way)]
            for way in (PLAIN, VIEW, BOTH, TRAIN)
        }
        for way, group in by_way.items():
            ratios = paired_ratios(group, by_way[TRAIN], "seconds")
            lines.append(
                f"| {net} | {way} | {median_of(group, 'seconds'):.3f} | {median(ratios):.2f} | "
                f"{ratios[0]:.2f} to {ratios[-1]:.2f} |"
            )
    notes = (
        f"Seconds are medians; a ratio is that of two measurements in turn, each of {about['steps']} steps, "
        "and its median, smallest and largest stand there. *own loop*: `attack(net, images, labels)` and a "
        "step of SGD, with a DataLoader; *the view*: `rt.attack_view(net)`; *channels last*: "
        "`net.to(memory_format=torch.channels_last)`; *train*: our own loop. PGD-7, batch "
        f"{BATCH}, float32, on noise of CIFAR-10's shape. Machine: {about['machine']}."
    )
    return "\n".join([*lines, "", notes, ""])


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
