"""Robust accuracy: ours, torchattacks' and foolbox's, on trained nets, in one run and in turn.

    python -m benchmarks.attacks CHECKPOINT... --out runs/bench/attacks [--data DIR]

Writes measurements.jsonl as it goes (a run that was stopped goes on) and attacks.md. The others are used as
their documentation has it: the net as it is, in batches, all samples to the end. Ours folds BatchNorm and
keeps images channels last, and lets broken samples leave where a verdict is all that is asked for.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor, nn
from tyro.conf import Positional

from attacks import FGSM, PGD, Attack, autoattack
from benchmarks.attack_table import table
from benchmarks.attack_verdicts import (
    BATCH,
    EPS,
    RESTARTS,
    STEP,
    STEPS,
    THREAT,
    agreement,
    shrinking,
)
from benchmarks.measuring import Counted, Records, alternate, machine, peak_memory, report_peak
from robust_tickets import data
from robust_tickets.memory import keep_freed_memory
from robust_tickets.models import fold
from robust_tickets.runs import write_text
from robust_tickets.settings import Data
from robust_tickets.training import Checkpoint

LIBRARIES = ("ours", "torchattacks")  # whose memory is compared


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    checkpoints: Positional[tuple[Path, ...]]
    """trained nets for CIFAR-10; the last is the one for restarts and AutoAttack, where robustness counts"""
    out: Path = Path("runs/bench/attacks")
    """folder of the measurements and the table"""
    data: Path | None = None
    """CIFAR-10; None: as ROBUST_TICKETS_CIFAR10 says"""
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
    memory: str = ""
    """only say how much memory this library takes for PGD-20: ours or torchattacks"""


@dataclass(frozen=True)
class Case:
    """A net and images, and each library's way to robust accuracy."""

    net: nn.Module
    images: Tensor
    labels: Tensor

    def ours(self, attack: Attack, *, verdict: bool = True) -> dict[str, Any]:
        """The share that stands, or with `verdict` off images for all samples, as training wants them."""
        folded = fold(self.net.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
        images = self.images.to(memory_format=torch.channels_last)
        standing, forwards, backwards = [], 0, 0
        size = 2 * BATCH if verdict else BATCH
        with torch.no_grad():
            right = folded(images).argmax(1) == self.labels if verdict else torch.ones_like(self.labels) > 0
        ids = right.nonzero()[:, 0]
        for rows in ids.split(size):
            result = attack.run(
                folded,
                images[rows],
                self.labels[rows],
                sample_ids=rows,
                stop_when_broken=verdict,
                verdict=verdict,
                block=BATCH if verdict else None,
            )
            if result.broken is not None:
                standing.append(~result.broken)
            forwards, backwards = forwards + result.forwards, backwards + result.backwards
        if not verdict:
            return {"forwards": forwards, "backwards": backwards}
        accuracy = float(torch.cat(standing).sum()) / len(self.labels)
        return {"accuracy": accuracy, "forwards": forwards + len(images), "backwards": backwards}

    def theirs(
        self,
        make: Callable[[nn.Module], Callable[[Tensor, Tensor], Tensor]],
        times: int = 1,
        *,
        judge: bool = True,
    ) -> dict[str, Any]:
        """The same with an attack that gives images: all samples, batch by batch, as often as restarts."""
        torch.manual_seed(0)
        counted = Counted(self.net.to(memory_format=torch.contiguous_format)).eval()  # type: ignore[call-overload]
        attack = make(counted)
        standing = []
        for images, labels in zip(self.images.split(BATCH), self.labels.split(BATCH), strict=True):
            stands = torch.ones(len(labels), dtype=torch.bool)
            for _ in range(times):
                attacked = attack(images, labels)
                if judge:
                    with torch.no_grad():
                        stands &= counted(attacked).argmax(1) == labels
            standing.append(stands)
        forwards, backwards = counted.take()
        found: dict[str, Any] = {"forwards": forwards, "backwards": backwards}
        if judge:
            found = {"accuracy": float(torch.cat(standing).double().mean()), **found}
        return found


def of_torchattacks(name: str, **settings: Any) -> Callable[[nn.Module], Callable[[Tensor, Tensor], Tensor]]:
    """An attack of torchattacks on a net."""
    import torchattacks

    return lambda net: getattr(torchattacks, name)(net, eps=EPS, **settings)


def autoattack_of_torchattacks(net: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """The standard set at its published length: torchattacks.AutoAttack takes 10 steps instead of 100."""
    import torchattacks

    known: dict[str, Any] = {"eps": EPS, "steps": 100, "seed": 0}
    members = [
        torchattacks.APGD(net, loss="ce", n_restarts=1, **known),
        torchattacks.APGDT(net, n_classes=10, n_restarts=1, **known),
        torchattacks.FAB(net, multi_targeted=True, n_classes=10, n_restarts=1, **known),
        torchattacks.Square(net, eps=EPS, n_queries=5000, n_restarts=1, seed=0, resc_schedule=False),
    ]
    return torchattacks.MultiAttack(members)  # type: ignore[no-any-return]


def of_foolbox(make: Callable[[Any], Any]) -> Callable[[nn.Module], Callable[[Tensor, Tensor], Tensor]]:
    """An attack of foolbox on a net."""
    import foolbox

    def on(net: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
        model, attack = foolbox.PyTorchModel(net, bounds=(0, 1)), make(foolbox.attacks)
        return lambda images, labels: attack(model, images, labels, epsilons=EPS)[1]

    return on


def pgd_of_foolbox(attacks: Any) -> Any:
    """PGD-20 from a random start."""
    return attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=True)


def measure(case: Case, few: Case, net: str, records: Records, settings: Settings, *, last: bool) -> None:
    """All attacks on one net."""
    pgd = PGD(THREAT, steps=STEPS, step_size=STEP)
    theirs = of_torchattacks("PGD", alpha=STEP, steps=STEPS)
    foolbox = of_foolbox(pgd_of_foolbox)
    n = settings.images
    fgsm = of_foolbox(lambda attacks: attacks.LinfFastGradientAttack())
    alternate(
        records,
        {
            "ours": lambda: case.ours(FGSM(THREAT)),
            "torchattacks": lambda: case.theirs(of_torchattacks("FGSM")),
            "foolbox": lambda: case.theirs(fgsm),
        },
        settings.repeats,
        net=net,
        attack="FGSM, accuracy",
        n=n,
    )
    alternate(
        records,
        {
            "ours": lambda: case.ours(pgd, verdict=False),
            "torchattacks": lambda: case.theirs(theirs, judge=False),
            "foolbox": lambda: case.theirs(foolbox, judge=False),
        },
        settings.repeats,
        net=net,
        attack="PGD-20, images",
        n=n,
    )
    alternate(
        records,
        {
            "ours": lambda: case.ours(pgd),
            "torchattacks": lambda: case.theirs(theirs),
            "foolbox": lambda: case.theirs(foolbox),
        },
        settings.repeats,
        net=net,
        attack="PGD-20, accuracy",
        n=n,
    )
    if not last:
        return
    restarted = PGD(THREAT, steps=STEPS, step_size=STEP, restarts=RESTARTS)
    alternate(
        records,
        {
            "ours": lambda: case.ours(restarted),
            "torchattacks": lambda: case.theirs(theirs, RESTARTS),
            "foolbox": lambda: case.theirs(of_foolbox(lambda a: pgd_of_foolbox(a).repeat(RESTARTS))),
        },
        settings.repeats,
        net=net,
        attack=f"PGD-20, {RESTARTS} restarts, accuracy",
        n=n,
    )
    alternate(
        records,
        {
            "ours": lambda: few.ours(autoattack(THREAT)),
            "torchattacks": lambda: few.theirs(autoattack_of_torchattacks),
        },
        1,
        net=net,
        attack="AutoAttack, accuracy",
        n=settings.few,
    )


def measure_memory(case: Case, library: str) -> None:
    """Print the peak of PGD-20 with one library, in this process."""
    if library == "ours":
        report_peak(lambda: case.ours(PGD(THREAT, steps=STEPS, step_size=STEP)))
    else:
        report_peak(lambda: case.theirs(of_torchattacks("PGD", alpha=STEP, steps=STEPS)))


def main(settings: Settings) -> None:
    """Measure what is not measured yet, and write the table."""
    warnings.filterwarnings("ignore", module="torchattacks")
    torch.set_num_threads(settings.threads)
    keep_freed_memory()  # as our command line does; the others gain by it too
    test = data.load(Data("cifar10", root=settings.data)).test
    records = Records(settings.out / "measurements.jsonl")
    if not settings.memory:
        digests = [sha256(file.read_bytes()).hexdigest()[:16] for file in settings.checkpoints]
        records.begin({"machine": machine(settings.threads), "checkpoints": digests})
    for file in settings.checkpoints:
        checkpoint = Checkpoint.load(file)
        name = f"{checkpoint.model.name} x{checkpoint.model.width:g}"
        net = checkpoint.net().eval()
        whole, few, agreed = (
            Case(net, part.images.float() / 255, part.labels)
            for part in map(test.first, (settings.images, settings.few, settings.agreed))
        )
        if settings.memory:
            measure_memory(whole, settings.memory)
            return
        last = file == settings.checkpoints[-1]
        measure(whole, few, name, records, settings, last=last)
        if not records.has(kind="memory", net=name, n=settings.images):
            told = [str(file), "--images", str(settings.images), "--threads", str(settings.threads)]
            told += [] if settings.data is None else ["--data", str(settings.data)]
            peaks = {lib: peak_memory("benchmarks.attacks", [*told, "--memory", lib]) for lib in LIBRARIES}
            records.add({"kind": "memory", "net": name, "n": settings.images, **peaks})
        for kind, compare in (("agreement", agreement), ("shrinking", shrinking)):
            if last and not records.has(kind=kind, net=name):
                found = compare(net, agreed.images, agreed.labels)
                records.add({"kind": kind, "net": name, "n": len(agreed.labels), **found})
    write_text(settings.out / "attacks.md", table(records))
    print(settings.out / "attacks.md")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
