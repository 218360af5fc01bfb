"""Robust accuracy under our Auto-PGD and Square, and under those of their authors (package pyautoattack).

    python -m benchmarks.oracle CHECKPOINT --out runs/bench/attacks [--data DIR]

Needs `pip install pyautoattack`. Writes oracle.jsonl as it goes and oracle.md. It compares no speed; see
benchmarks/attacks.py for that.
"""

import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
import tyro
from torch import Tensor
from tyro.conf import Positional

from benchmarks.attack_verdicts import BATCH, THREAT
from benchmarks.attack_ways import Case, load_case, net_name
from benchmarks.measuring import Records, machine
from robust_tickets.attacks import APGD, APGDTargeted, Attack, Square
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
    """The measurements to take."""

    checkpoint: Positional[Path]
    """a network trained on CIFAR-10"""
    out: Path = Path("runs/bench/attacks")
    """folder of the measurements and the table"""
    data: Path | None = None
    """CIFAR-10; None: the environment variable ROBUST_TICKETS_CIFAR10"""
    images: int = 500
    """test images, balanced over the classes"""
    threads: int = 2
    """CPU threads"""


def random_place(low: int, high: int) -> Tensor:
    """A place for a window from low to high inclusive; pyautoattack's never reach an image's last row."""
    return torch.randint(low, high + 1, (1,))


def pyautoattack_robust(name: str, case: Case) -> Tensor:
    """Which samples are robust to one attack of pyautoattack, bool (N,), with one restart."""
    from pyautoattack import AutoAttack

    suite = AutoAttack(
        case.net, attacks=[name.partition(",")[0]], version="custom", norm="Linf", eps=THREAT.eps, seed=0
    )
    suite.apgd.n_restarts = 1
    if name == TO_THE_EDGE:
        suite.square.random_int = random_place
    adversarial, _ = suite.run_standard_evaluation(case.images, case.labels, batch_size=BATCH)
    with torch.no_grad():
        return case.net(adversarial).argmax(1) == case.labels


def table(records: Records) -> str:
    """The measurements as a table."""
    lines = [
        "| net | attack | images | ours % | pyautoattack % | ours alone breaks | pyautoattack alone breaks |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    about, *rows = records.all()
    for r in rows:
        lines.append(
            f"| {r['net']} | {r['attack']} | {r['n']} | {100 * r['ours']:.1f} | {100 * r['theirs']:.1f} | "
            f"{r['ours alone']} | {r['theirs alone']} |"
        )
    note = (
        "Robust accuracy, Linf 8/255, each attack alone. *To the edge*: pyautoattack's windows may lie in an "
        "image's last row and column too, as ours may; by default they never do. "
        f"Machine: {about['machine']}."
    )
    return "\n".join([*lines, "", note, ""])


def main(settings: Settings) -> None:
    """Take the missing measurements and write the table."""
    torch.set_num_threads(settings.threads)
    case = load_case(settings.checkpoint, settings.images, settings.data)
    net = net_name(settings.checkpoint)
    records = Records(settings.out / "oracle.jsonl")
    digest = sha256(settings.checkpoint.read_bytes()).hexdigest()[:16]
    records.begin({"machine": machine(settings.threads), "checkpoints": [digest]})
    for name, attack in OURS.items():
        if records.has(attack=name, net=net, n=settings.images):
            continue
        begin = time.perf_counter()
        (ours, _, _), theirs = case.robust(attack), pyautoattack_robust(name, case)
        record = {
            "net": net,
            "attack": name,
            "n": settings.images,
            "ours": float(ours.double().mean()),
            "theirs": float(theirs.double().mean()),
            "ours alone": int((theirs & ~ours).sum()),
            "theirs alone": int((ours & ~theirs).sum()),
        }
        records.add(record)
        print(f"{time.perf_counter() - begin:6.0f} s  {record}", flush=True)
    write_text(settings.out / "oracle.md", table(records))
    print(settings.out / "oracle.md")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
