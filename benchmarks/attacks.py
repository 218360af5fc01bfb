"""Robust accuracy by our attacks, torchattacks and foolbox, on trained networks and in turn.

    python -m benchmarks.attacks CHECKPOINT... --out runs/bench/attacks [--data DIR]

Needs foolbox (`pip install '.[test]'`). Writes measurements.jsonl as it goes (a stopped run resumes) and
attacks.md. Each library has a process of its own, so that none reuses memory that another has freed; see
benchmarks/attack_ways.py.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import torch
import tyro
from tyro.conf import Positional

from benchmarks.attack_table import table
from benchmarks.attack_verdicts import agreement, shrinking
from benchmarks.attack_ways import AUTOATTACK, RESTARTED, WAYS, load_case, measure, net_name, peak, prepare
from benchmarks.measuring import Records, alternate, machine
from robust_tickets.runs.files import write_text


@dataclass(frozen=True)
class Settings:
    """The measurements to take."""

    checkpoints: Positional[tuple[Path, ...]]
    """networks trained on CIFAR-10; restarts and AutoAttack are measured on the last one"""
    out: Path = Path("runs/bench/attacks")
    """folder of the measurements and the table"""
    data: Path | None = None
    """CIFAR-10; None: the environment variable ROBUST_TICKETS_CIFAR10"""
    images: int = 500
    """test images, balanced over the classes"""
    few: int = 100
    """test images for AutoAttack"""
    agreed: int = 1000
    """test images on which verdicts from the same starts are compared"""
    repeats: int = 3
    """measurements of each; AutoAttack is measured once"""
    threads: int = 2
    """CPU threads"""


@contextmanager
def processes(settings: Settings) -> Iterator[dict[str, ProcessPoolExecutor]]:
    """A process for each library, started by its first measurement."""
    libraries = dict.fromkeys(library for ways in WAYS.values() for library in ways)
    pools = {library: _process(library, settings.threads) for library in libraries}
    try:
        yield pools
    finally:
        for pool in pools.values():
            pool.shutdown()


def _process(library: str, threads: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"), prepare, (library, threads))


def measure_speed(file: Path, net: str, records: Records, settings: Settings, *, last: bool) -> None:
    """Measure all attacks on one network; restarts and AutoAttack only where it is the last."""
    with processes(settings) as by_library:
        for attack, libraries in WAYS.items():
            if attack in (RESTARTED, AUTOATTACK) and not last:
                continue
            images = settings.few if attack == AUTOATTACK else settings.images
            case = (attack, file, images, settings.data)
            ways = {
                library: partial(_measure_in, by_library[library], library, *case) for library in libraries
            }
            repeats = 1 if attack == AUTOATTACK else settings.repeats
            alternate(records, ways, repeats, net=net, attack=attack, n=images)


def _measure_in(pool: ProcessPoolExecutor, *arguments: object) -> dict[str, object]:
    return pool.submit(measure, *arguments).result()  # type: ignore[arg-type]


def measure_memory(file: Path, net: str, records: Records, settings: Settings) -> None:
    """Measure the peak of PGD by ours and by torchattacks, each in a fresh process."""
    if records.has(kind="memory", net=net, n=settings.images):
        return
    peaks = {}
    for library in ("ours", "torchattacks"):
        with _process(library, settings.threads) as pool:
            peaks[library] = pool.submit(peak, library, file, settings.images, settings.data).result()
    records.add({"kind": "memory", "net": net, "n": settings.images, **peaks})


def main(settings: Settings) -> None:
    """Take the missing measurements and write the table."""
    torch.set_num_threads(settings.threads)
    records = Records(settings.out / "measurements.jsonl")
    digests = [sha256(file.read_bytes()).hexdigest()[:16] for file in settings.checkpoints]
    records.begin({"machine": machine(settings.threads), "checkpoints": digests})
    for file in settings.checkpoints:
        net = net_name(file)
        last = file == settings.checkpoints[-1]
        measure_speed(file, net, records, settings, last=last)
        measure_memory(file, net, records, settings)
        for kind, compare in (("agreement", agreement), ("shrinking", shrinking)):
            if last and not records.has(kind=kind, net=net):
                case = load_case(file, settings.agreed, settings.data)
                values = compare(case.net, case.images, case.labels)
                records.add({"kind": kind, "net": net, "n": len(case.labels), **values})
    write_text(settings.out / "attacks.md", table(records))
    print(settings.out / "attacks.md")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
