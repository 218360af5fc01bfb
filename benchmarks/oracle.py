"""Robust accuracy under our Auto-PGD and Square, and under those of their authors (package pyautoattack).

    python -m benchmarks.oracle CHECKPOINT --out runs/bench/attacks [--data DIR]

Needs `pip install pyautoattack`. Writes oracle.jsonl as it goes and oracle.md. Seconds are those of one run
each and no comparison of speed: see attacks.py for that.
"""

import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
import tyro
from torch import Tensor
from tyro.conf import Positional

from attacks import APGD, APGDTargeted, Attack, Square
from benchmarks.attack_verdicts import BATCH, THREAT
from benchmarks.attack_ways import Case, case_of, name_of
from benchmarks.measuring import Records, machine
from robust_tickets.runs.files import write_text

TO_THE_EDGE = "square, theirs to the edge"
OURS: dict[str, Attack] = {
    "apgd-ce": APGD(THREAT),
    "apgd-dlr": APGD(THREAT, loss="dlr"),
    "apgd-t": APGDTargeted(THREAT),
    "square": Square(THREAT),
    TO_THE_EDGE: Square(THREAT),
}


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    checkpoint: Positional[Path]
    """a trained net for CIFAR-10"""
    out: Path = Path("runs/bench/attacks")
    """folder of the measurements and the table"""
    data: Path | None = None
    """CIFAR-10; None: as ROBUST_TICKETS_CIFAR10 says"""
    images: int = 500
    """test images, balanced over the classes"""
    threads: int = 2
    """CPU threads"""


def places_to_the_edge(low: int, high: int) -> Tensor:
    """A place for a window: theirs never reach the last row and column of an image."""
    return torch.randint(low, high + 1, (1,))


def theirs(name: str, case: Case) -> Tensor:
    """Which samples stand against pyautoattack's, bool (N,): one attack alone, with one restart as in the
    standard set.
    """
    from pyautoattack import AutoAttack

    suite = AutoAttack(
        case.net, attacks=[name.partition(",")[0]], version="custom", norm="Linf", eps=THREAT.eps, seed=0
    )
    suite.apgd.n_restarts = 1
    if name == TO_THE_EDGE:
        suite.square.random_int = places_to_the_edge
    attacked, _ = suite.run_standard_evaluation(case.images, case.labels, batch_size=BATCH)
    with torch.no_grad():
        return case.net(attacked).argmax(1) == case.labels


def table(records: Records) -> str:
    """The measurements as a table."""
    lines = [
        "| net | attack | images | ours % | pyautoattack % | ours alone breaks | pyautoattack alone breaks |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    about, *found = records.all()
    for r in found:
        lines.append(
            f"| {r['net']} | {r['attack']} | {r['n']} | {100 * r['ours']:.1f} | {100 * r['theirs']:.1f} | "
            f"{r['ours alone']} | {r['theirs alone']} |"
        )
    note = (
        "Robust accuracy, Linf 8/255, each attack alone. *To the edge*: pyautoattack's windows may lie in an "
        "image's last row and column too, as ours may; as it comes they never do. "
        f"Machine: {about['machine']}."
    )
    return "\n".join([*lines, "", note, ""])


def main(settings: Settings) -> None:
    """Measure what is not measured yet, and write the table."""
    torch.set_num_threads(settings.threads)
    case = case_of(settings.checkpoint, settings.images, settings.data)
    name = name_of(settings.checkpoint)
    records = Records(settings.out / "oracle.jsonl")
    digest = sha256(settings.checkpoint.read_bytes()).hexdigest()[:16]
    records.begin({"machine": machine(settings.threads), "checkpoints": [digest]})
    for attack, mine in OURS.items():
        if records.has(attack=attack, net=name, n=settings.images):
            continue
        begin = time.perf_counter()
        (a, _, _), b = case.standing(mine), theirs(attack, case)
        record = {
            "net": name,
            "attack": attack,
            "n": settings.images,
            "ours": float(a.double().mean()),
            "theirs": float(b.double().mean()),
            "ours alone": int((b & ~a).sum()),
            "theirs alone": int((a & ~b).sum()),
        }
        records.add(record)
        print(f"{time.perf_counter() - begin:6.0f} s  {record}", flush=True)
    write_text(settings.out / "oracle.md", table(records))
    print(settings.out / "oracle.md")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
