"""All that matters about this project on one GPU, in at most nine minutes.

    python -m benchmarks.gpu --out runs/bench/gpu

Parts come in the order of their worth. Each figure is written to figures.jsonl as it is taken, and the
table gpu.md after each part; the same command goes on where it stopped. Set ROBUST_TICKETS_CIFAR10 to a copy
of CIFAR-10, or the last part trains on noise. When all parts are done, the next call runs the comparison of
rivals-resnet18 at 15 epochs. `--device cpu --tiny` runs all of it small, to try the program.
"""

import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from benchmarks import gpu_parity, gpu_result, gpu_speed
from benchmarks.gpu_figures import Gpu
from benchmarks.gpu_table import table
from benchmarks.measuring import Records
from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine, describe_machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.runs.files import write_text

Part = Callable[[Gpu], None]

PARTS: dict[str, tuple[Part, float]] = {
    "about": (gpu_parity.about, 5),
    "parity": (gpu_parity.parity, 30),
    "exact": (gpu_parity.exact, 40),
    "waits": (gpu_speed.waits, 20),
    "ceilings": (gpu_speed.ceilings, 30),
    "steps": (gpu_speed.steps, 60),
    "result": (gpu_result.result, 150),
}
"""The parts, with the seconds that must be left to begin one."""


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    out: Path = Path("runs/bench/gpu")
    """folder of the figures and the table"""
    device: str = "cuda"
    """the GPU"""
    seconds: float = 530.0
    """when to stop; what is left to do is done by the next call"""
    tiny: bool = False
    """all small, to try the program"""


def main(settings: Settings) -> None:
    """Take the figures that are missing, as far as time goes; exit with 1 where one is not as it must be."""
    begin = time.monotonic()
    machine = Machine(settings.device, SilentProgress())
    try:
        machine.prepare(threads=torch.get_num_threads())
    except InputError as error:
        sys.exit(str(error))
    records = Records(settings.out / "figures.jsonl")
    about = describe_machine(machine.device, 1) | {"tiny": settings.tiny}
    records.begin(
        {"machine": {name: about[name] for name in ("torch", "gpu", "device", "tiny") if name in about}}
    )
    gpu = Gpu(machine.device, settings.tiny, records, begin + settings.seconds)
    finished = {name for name in PARTS if records.has(kind="end", part=name)}
    if len(finished) == len(PARTS) and not settings.tiny:
        gpu_result.compare(gpu, settings.out)
    for name, (part, least) in PARTS.items():
        if name in finished:
            continue
        if gpu.seconds_left < least and not settings.tiny:
            print(f"no time is left for {name}, which needs {least:g} s: give the same command again")
            break
        _run(gpu, name, part)
        write_text(settings.out / "gpu.md", table(records))
    print(settings.out / "gpu.md")
    bad = [record for record in records.all() if record.get("holds") is False]
    for record in bad:
        print(f"BAD {record['part']}: {record['name']}: {record['value']}")
    sys.exit(1 if bad else 0)


def _run(gpu: Gpu, name: str, part: Part) -> None:
    """Take the figures of a part; a failure is a figure too, as the next part may still tell something."""
    begin = time.monotonic()
    try:
        part(gpu)
    except Exception as error:  # whatever the device makes torch raise
        traceback.print_exc(limit=-4)
        gpu.add(name, "failed", f"{type(error).__name__}: {error!s:.200}", holds=False)
    gpu.records.add({"kind": "end", "part": name, "seconds": round(time.monotonic() - begin, 1)})
    print(f"    {name} took {time.monotonic() - begin:.0f} s, {gpu.seconds_left:.0f} s are left", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
