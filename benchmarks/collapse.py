"""What the collapse detector sees in trainings that stay healthy and in some that overfit catastrophically.

    python -m benchmarks.collapse --out runs/bench/collapse

Short trainings of small networks, without augmentation, most of them after 100 natural steps so that they
learn quickly. Every 50 steps it writes the average alignment, the network's accuracy on validation images,
clean and under FGSM and PGD-10, and how many steps were taken by PGD. Writes measurements.jsonl (a stopped
run resumes with the next case) and collapse.md. The thresholds in robust_tickets/training/collapse.py rest
on it.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor, nn

from benchmarks.measuring import Records, machine
from robust_tickets.attacks import FGSM, PGD, ThreatModel
from robust_tickets.attacks.network import misclassified
from robust_tickets.data import load
from robust_tickets.data.augmentation import Augmentation
from robust_tickets.data.dataset import Split
from robust_tickets.models.fold import fold
from robust_tickets.recipe.fields import Data
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.training_fields import Training
from robust_tickets.runs.files import write_text
from robust_tickets.training.collapse import CollapseDetector
from robust_tickets.training.methods.base import Batch, Method, Networks, Step

WARMUP, EVERY, BATCH = 50, 50, 64
VALIDATION_IMAGES = 200


@dataclass(frozen=True)
class Case:
    """A training: data, method, eps in 255ths, learning rate, images, steps and width of the network.

    pgd_steps: of PGD where the detector fires; 0: it only watches.
    natural_steps: before the training.
    """

    data: str
    method: str
    eps: float
    lr: float
    images: int
    steps: int
    width: int
    pgd_steps: int = 0
    natural_steps: int = 100

    @property
    def name(self) -> str:
        """What the table calls it."""
        after = f", PGD-{self.pgd_steps} where it fires" if self.pgd_steps else ""
        start = "" if self.natural_steps else ", from random weights"
        return f"{self.method}, {self.data}, eps {self.eps:g}/255, {self.images} images{start}{after}"


CASES = (
    Case("digits", "fgsm", 76.5, 0.1, 1200, 700, 16),
    Case("digits", "fgsm", 76.5, 0.1, 1200, 700, 16, pgd_steps=5),
    Case("digits", "fgsm_rs", 76.5, 0.1, 1200, 500, 16),
    Case("digits", "fgsm", 51, 0.05, 1200, 400, 16),
    Case("digits", "fgsm", 51, 0.1, 600, 700, 32),
    Case("digits", "nfgsm", 51, 0.1, 1200, 400, 16),
    Case("digits", "sora", 51, 0.1, 1200, 400, 16),
    Case("digits", "liet", 51, 0.1, 1200, 400, 16),
    Case("cifar10", "fgsm", 8, 0.2, 1000, 500, 32),
    Case("cifar10", "nfgsm", 8, 0.2, 1000, 300, 32),
    Case("cifar10", "nfgsm", 8, 0.2, 1000, 600, 32, natural_steps=0),
    Case("cifar10", "fgsm_rs", 8, 0.2, 1000, 600, 32, natural_steps=0),
    Case("digits", "fgsm", 76.5, 0.1, 1200, 700, 16, natural_steps=0),
)


@dataclass(frozen=True)
class Settings:
    """Where the measurements go."""

    out: Path = Path("runs/bench/collapse")
    """folder of the measurements and the table"""
    threads: int = 1
    """CPU threads"""


def main(settings: Settings) -> None:
    """Run the missing cases and write the table."""
    torch.set_num_threads(settings.threads)
    records = Records(settings.out / "measurements.jsonl")
    records.begin({"machine": machine(settings.threads)})
    for case in CASES:
        if not records.has(case=case.name):
            points, fired = train(case)
            records.add({"case": case.name, **asdict(case), "points": points, "fired": fired})
            print(case.name, flush=True)
    write_text(settings.out / "collapse.md", table(records.all()))


def train(case: Case) -> tuple[list[dict[str, Any]], int | None]:
    """Train a network: what was measured every so many steps, and the step at which the detector fired."""
    data = load.load(Data(case.data, train_images=case.images, val_images=VALIDATION_IMAGES))
    torch.manual_seed(0)
    net = network(data.spec.shape, case.width)
    nets, threat = Networks(net, fold(net, data.spec.shape)), ThreatModel("Linf", case.eps / 255)
    detector = CollapseDetector(make_method(Training(method=case.method)), case.pgd_steps)  # type: ignore[arg-type]
    detector.prepare(data)
    natural = make_method(Training(method="natural"))
    optimiser = torch.optim.SGD(net.parameters(), lr=case.lr, momentum=0.9, weight_decay=5e-4)
    points, pgd_taken, fired = [], 0, None
    for number in range(case.natural_steps + case.steps):
        optimiser.param_groups[0]["lr"] = case.lr * min(1, (number + 1) / WARMUP)
        attacked = number - case.natural_steps
        step = Step(max(attacked, 0), case.steps, data.spec.classes)
        take_step(
            detector if attacked >= 0 else natural,
            nets,
            optimiser,
            batch_of(data.train, threat, step, number),
        )
        if attacked < 0:
            continue
        one_step = detector.inner.passes(1, step).attack.forward or 1
        pgd_taken += detector.passes_taken(1, step).attack.forward > one_step
        if fired is None and detector.warning():
            fired = attacked
        if (attacked + 1) % EVERY == 0:
            alignment = float(detector.state_dict()["collapse.alignment"])
            accuracies = measure(nets.attack, data.val, threat)
            points.append(
                {"step": attacked + 1, "alignment": round(alignment, 3), **accuracies, "pgd_taken": pgd_taken}
            )
    return points, fired


def network(shape: tuple[int, ...], width: int) -> nn.Module:
    """Three convolutions with BatchNorm, of one, two and four times the width."""
    small = shape[1] < 16
    layers: list[nn.Module] = []
    channels = shape[0]
    for wider, stride in ((width, 1 if small else 2), (2 * width, 2), (4 * width, 2)):
        conv = nn.Conv2d(channels, wider, 3, padding=1, stride=stride, bias=False)
        layers += [conv, nn.BatchNorm2d(wider), nn.ReLU()]
        channels = wider
    pool = nn.AdaptiveAvgPool2d(2 if small else 1)
    return nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(channels * (4 if small else 1), 10))


def batch_of(split: Split, threat: ThreatModel, step: Step, number: int) -> Batch:
    """A batch of random images; the number decides which."""
    rows = torch.randperm(len(split), generator=torch.Generator().manual_seed(number))[:BATCH]
    zeros = torch.zeros_like(rows)
    still = Augmentation(zeros, zeros, zeros.bool(), padding=0)
    return Batch(
        split.images[rows].float() / 255, split.labels[rows], rows, threat, number, step, rows, still
    )


def take_step(method: Method, nets: Networks, optimiser: torch.optim.Optimizer, batch: Batch) -> None:
    """One training step."""
    adversarial = method.perturb(nets, batch)
    optimiser.zero_grad()
    method.loss(nets, batch, adversarial).backward()  # type: ignore[no-untyped-call]
    method.after_backward(nets, batch)
    optimiser.step()


def measure(net: nn.Module, split: Split, threat: ThreatModel) -> dict[str, float]:
    """Accuracy on images: clean, under FGSM and under PGD-10."""
    images, labels = split.images.float() / 255, split.labels

    def accuracy(points: Tensor) -> float:
        with torch.no_grad():
            return round(1 - float(misclassified(net(points), labels).float().mean()), 3)

    fgsm, pgd = (attack(net, images, labels, seed=0) for attack in (FGSM(threat), PGD(threat, steps=10)))
    return {"clean": accuracy(images), "fgsm": accuracy(fgsm), "pgd": accuracy(pgd)}


def table(records: list[dict[str, Any]]) -> str:
    """A row a case: alignments, when the detector fired, and the accuracies at the end."""
    lines = [
        f"| training | alignment after {EVERY} steps | least after that | fired at step | clean | FGSM "
        "| PGD-10 | steps by PGD |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for record in records:
        if "points" not in record:
            continue
        first, *others = (point["alignment"] for point in record["points"])
        end = record["points"][-1]
        accuracies = " | ".join(f"{end[name]:.1%}" for name in ("clean", "fgsm", "pgd"))
        fired = "never" if record["fired"] is None else record["fired"]
        lines.append(
            f"| {record['case']} | {first:.2f} | {min(others):.2f} | {fired} | {accuracies} "
            f"| {end['pgd_taken']} of {end['step']} |"
        )
    about = next(record["machine"] for record in records if record.get("kind") == "about")
    return "\n".join(["# Collapse detector", "", *lines, "", f"{about}.", ""])


if __name__ == "__main__":
    main(tyro.cli(Settings))
