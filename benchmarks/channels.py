"""How fast the machine computes a 3x3 convolution of each width, forward and back.

    python -m benchmarks.channels --out runs/bench/channels

The gain of a narrower network depends on the widths that its layers keep: choose search.round_to by this
table. The widths of a size of image are measured in one process and in turn. Writes measurements.jsonl as it
goes (a stopped run resumes) and channels.md.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from torch.nn import functional as F

from benchmarks.measuring import Records, alternate, machine, median_of
from robust_tickets.base.memory import keep_freed_memory
from robust_tickets.recipe.fields import Compute
from robust_tickets.runs.files import write_text
from robust_tickets.training.precision import supported_compute

TYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Settings:
    """The measurements to take."""

    out: Path = Path("runs/bench/channels")
    """folder of the measurements and the table"""
    sides: tuple[int, ...] = (32, 16, 8, 4)
    """side of the feature maps in pixels"""
    channels: tuple[int, ...] = (8, 16, 24, 32, 40, 48, 56, 64)
    """channels, as many in as out"""
    batch: int = 128
    """images a call"""
    calls: int = 10
    """convolutions of a measurement"""
    repeats: int = 9
    """measurements of each"""
    threads: int = 2
    """CPU threads"""


def main(settings: Settings) -> None:
    """Take the missing measurements and write the table."""
    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    records = Records(settings.out / "measurements.jsonl")
    records.begin({"machine": machine(settings.threads)})
    precisions = [name for name in TYPES if not supported_compute(Compute(precision=name), "cpu")[1]]
    for side in settings.sides:
        for precision in precisions:
            ways: dict[str, Callable[[], dict[str, Any]]] = {
                str(channels): partial(time_convolution, channels, side, precision, settings)
                for channels in settings.channels
            }
            alternate(records, ways, settings.repeats, side=side, precision=precision, batch=settings.batch)
    write_text(settings.out / "channels.md", table(records))
    print(settings.out / "channels.md")


def time_convolution(channels: int, side: int, precision: str, settings: Settings) -> dict[str, Any]:
    """Seconds of a convolution, forward and back to its input, channels last."""
    shape = (settings.batch, channels, side, side)
    kernel = (channels, channels, 3, 3)
    images, weights, upstream = (
        torch.randn(size).to(TYPES[precision], memory_format=torch.channels_last)
        for size in (shape, kernel, shape)
    )
    images.requires_grad_()
    begin = time.perf_counter()
    for _ in range(settings.calls):
        torch.autograd.grad(F.conv2d(images, weights, padding=1), images, upstream)
    return {"seconds": round((time.perf_counter() - begin) / settings.calls, 7)}


def table(records: Records) -> str:
    """GFLOP/s by size of image and precision, a column for each width."""
    about, *rows = records.all()
    widths = list(dict.fromkeys(row["library"] for row in rows))
    lines = [
        f"| feature maps | precision | {' | '.join(widths)} |",
        "| --- | --- |" + " ---: |" * len(widths),
    ]
    for side, precision in dict.fromkeys((record["side"], record["precision"]) for record in rows):
        group = [r for r in rows if (r["side"], r["precision"]) == (side, precision)]
        cells = []
        for width in widths:
            seconds = median_of([record for record in group if record["library"] == width], "seconds")
            # a multiplication and an addition for each weight and place, forward and again backward
            flops = 2 * 2 * group[0]["batch"] * side**2 * 9 * int(width) ** 2
            cells.append(f"{flops / seconds / 1e9:.0f}")
        lines.append(f"| {side}x{side} | {precision} | {' | '.join(cells)} |")
    return "\n".join(
        [
            *lines,
            "",
            "GFLOP/s (medians) of a 3x3 convolution of so many channels in and out, forward and back to its "
            f"input, channels last, batch {rows[0]['batch']}. Machine: {about['machine']}.",
            "",
        ]
    )


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
