"""Seconds of a step of each training method beside its own floor, the bare passes of the same networks.

    python -m benchmarks.methods --out runs/bench/methods

Both are measured in one process and in turn, after a warm-up. Writes measurements.jsonl as it goes (a stopped
run resumes) and methods.md.
"""

import time
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
import tyro
from torch import Tensor, nn

from benchmarks.measuring import Records, alternate, machine, median_of, paired_ratios
from benchmarks.step_ways import BATCH, EPS, LR, SPEC, noise_data, prepare, small_net
from robust_tickets.attacks import ThreatModel
from robust_tickets.base.ledger import Ledger, Passes
from robust_tickets.models.fold import fold
from robust_tickets.recipe.fields import Compute, Evaluate
from robust_tickets.recipe.methods import METHODS, make_method
from robust_tickets.recipe.training_fields import Train
from robust_tickets.runs.files import write_text
from robust_tickets.training.config import Session, TrainingConfig
from robust_tickets.training.loop import fit
from robust_tickets.training.methods import bullet
from robust_tickets.training.methods.cross_entropy import UpdateGradientMethod
from robust_tickets.training.methods.pgd import PGDSettings
from robust_tickets.training.wrappers.awp import AWPSettings

OURS, FLOOR, GROUPS = "ours", "floor", "floor of groups"

TRAININGS = {name: Train(method=name) for name in METHODS} | {
    "pgd, 7 steps": Train(method="pgd", pgd=PGDSettings(steps=7)),
    "nfgsm, smoothed labels": Train(method="nfgsm", label_smoothing=0.4, smoothing="random"),
    "nfgsm, averaged": Train(method="nfgsm", average=0.999),
    "nfgsm, AWP": Train(method="nfgsm", awp=AWPSettings(gamma=0.005)),
    "nfgsm, Muon": Train(method="nfgsm", optimiser="muon"),
}
"""The trainings by their names in the table."""


@dataclass(frozen=True)
class Settings:
    """The measurements to take."""

    out: Path = Path("runs/bench/methods")
    """folder of the measurements and the table"""
    nets: tuple[str, ...] = ("VGG-16 x0.25", "ResNet-18 x0.25")
    """networks"""
    steps: int = 8
    """training steps of a measurement"""
    repeats: int = 7
    """measurements of each"""
    threads: int = 2
    """CPU threads"""


def main(settings: Settings) -> None:
    """Take the missing measurements and write the table."""
    prepare(settings.threads)
    records = Records(settings.out / "measurements.jsonl")
    records.begin({"machine": machine(settings.threads), "steps": settings.steps})
    for net in settings.nets:
        for name, training in TRAININGS.items():
            ways = {
                OURS: partial(time_ours, training, net, settings.steps),
                FLOOR: partial(time_floor, training, net, settings.steps),
            }
            if training.method == "bullet":
                ways[GROUPS] = partial(time_floor_of_groups, training, net, settings.steps)
            alternate(records, ways, settings.repeats, kind="method", net=net, method=name)
    write_text(settings.out / "methods.md", table(records))
    print(settings.out / "methods.md")


def time_ours(training: Train, net: str, steps: int) -> dict[str, Any]:
    """Seconds of a step of our training, by its ledger: batches and augmentation, attack and update."""
    ledger = _fit(training, net, steps)
    return {"seconds": round(ledger.step_seconds / steps, 4)}


def time_floor(training: Train, name: str, steps: int) -> dict[str, Any]:
    """Seconds of the passes that such a step is charged: no loss, no perturbation, no update.

    Those of the attack go through the folded network, those of the update through the network in train mode.
    """
    attack, _ = _batch_passes(training, name, steps)
    batches = [[(BATCH, _of_step(attack, step, steps))] for step in range(steps)]
    return _time_passes(training, name, batches)


def time_floor_of_groups(training: Train, name: str, steps: int) -> dict[str, Any]:
    """Seconds of the passes of `time_floor`, those of the attack in the smaller batches that bullet forms."""
    batches = [
        [(size, Passes(forward=1, input_backward=1)) for size in sizes]
        for sizes in _group_sizes(training, name, steps)
    ]
    return _time_passes(training, name, batches)


def _time_passes(training: Train, name: str, attack: list[list[tuple[int, Passes]]]) -> dict[str, Any]:
    """Seconds of a step's passes.

    attack: for each step the size of each batch of the attack and the passes with it.
    """
    steps = len(attack)
    _, update = _batch_passes(training, name, steps)
    net = small_net(name).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    folded = fold(net)
    net.train()
    images = noise_data(1).train.images.float().div(255).contiguous(memory_format=torch.channels_last)
    with_images = isinstance(make_method(training), UpdateGradientMethod)
    begin = time.perf_counter()
    for step, batches in enumerate(attack):
        for size, passes in batches:
            _run_attack_passes(folded, images[:size], passes)
        _run_update_passes(net, images, _of_step(update, step, steps), with_images)
    return {"seconds": round((time.perf_counter() - begin) / steps, 4)}


@cache
def _group_sizes(training: Train, net: str, steps: int) -> tuple[tuple[int, ...], ...]:
    """The sizes of the batches in each step's attack of method bullet, whose first batch is whole."""
    sizes: list[int] = []
    gradient = bullet._logits_and_gradient

    def note(net: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        sizes.append(len(images))
        return gradient(net, images, labels)

    with patch.object(bullet, "_logits_and_gradient", note):
        _fit(training, net, steps)
    firsts = [place for place, size in enumerate(sizes) if size == BATCH]
    assert len(firsts) == steps
    return tuple(tuple(sizes[a:b]) for a, b in pairwise([*firsts, len(sizes)]))


@cache
def _batch_passes(training: Train, net: str, steps: int) -> tuple[Passes, Passes]:
    """What so many steps are charged, in passes of whole batches: attack and update."""
    ledger = _fit(training, net, steps)
    attack, update = (
        Passes(*(round(n / BATCH) for n in vars(ledger.passes[phase]).values()))
        for phase in ("attack", "update")
    )
    return attack, update


def _of_step(passes: Passes, step: int, steps: int) -> Passes:
    """The passes of one of so many steps, which differ where a method's steps do."""
    return Passes(*((step + 1) * n // steps - step * n // steps for n in vars(passes).values()))


def _run_attack_passes(net: nn.Module, images: Tensor, passes: Passes) -> None:
    upstream = torch.full((len(images), SPEC.classes), 1e-3)
    for _ in range(passes.input_backward):
        point = images.detach().requires_grad_()
        torch.autograd.grad(net(point), point, upstream)
    with torch.no_grad():
        for _ in range(passes.forward - passes.input_backward):
            net(images)


def _run_update_passes(net: nn.Module, images: Tensor, passes: Passes, with_images: bool) -> None:
    """with_images: the full backward pass goes to the images too."""
    upstream = torch.full((BATCH, SPEC.classes), 1e-3)
    outputs = []
    for number in range(passes.full_backward):
        point = images.detach().requires_grad_(with_images or number < passes.input_backward)
        outputs.append(net(point))
        if number < passes.input_backward:
            torch.autograd.grad(outputs[-1], point, upstream, retain_graph=True)
    with torch.no_grad():
        for _ in range(passes.forward - passes.full_backward):
            net(images)
    torch.autograd.backward(outputs, [upstream] * len(outputs))
    for parameter in net.parameters():
        parameter.grad = None


def _fit(training: Train, name: str, steps: int) -> Ledger:
    """Train for so many steps on noise; returns the ledger."""
    settings = replace(training, epochs=1, batch=BATCH, lr=LR, schedule="constant")
    evaluate, threat = Evaluate(val_steps=1, early_epochs=0), ThreatModel("Linf", EPS)
    compute = Compute(torch.get_num_threads())
    config = TrainingConfig(settings, steps, threat, evaluate, compute, seed=0, average=training.average)
    net = small_net(name).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ledger = Ledger("train")
    with ledger.measure():
        fit(net, None, noise_data(steps), config, Session(ledger))
    return ledger


def table(records: Records) -> str:
    """Seconds of a step by network and method, and their ratio to the floor's."""
    about, *rows = records.all()
    lines = [
        "| net | method | seconds a step | floor | times the floor's seconds | spread |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    nets = list(dict.fromkeys(row["net"] for row in rows))
    trainings = dict.fromkeys((row["net"], row["method"]) for row in rows)
    for net, name in sorted(trainings, key=lambda each: nets.index(each[0])):
        group = [row for row in rows if (row["net"], row["method"]) == (net, name)]
        ours = [row for row in group if row["library"] == OURS]
        for floor_name in (FLOOR, GROUPS):
            floor = [row for row in group if row["library"] == floor_name]
            if not floor:
                continue
            ratios = paired_ratios(ours, floor, "seconds")
            lines.append(
                f"| {net} | {name}{' (groups)' if floor_name == GROUPS else ''} | "
                f"{median_of(ours, 'seconds'):.3f} | {median_of(floor, 'seconds'):.3f} | "
                f"{median(ratios):.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f} |"
            )
    notes = (
        f"Seconds are medians; a ratio is that of two measurements in turn, each of {about['steps']} steps, "
        "and its median, smallest and largest stand there. *floor*: the passes that the ledger charges, "
        "of the same folded network for the attack and of the network in train mode for the update, with "
        "nothing in between; *(groups)*: those of the attack in the smaller batches that bullet forms. "
        "*seconds a step*: the loop with batches, augmentation, attack and update. "
        f"Batch {BATCH}, float32, channels last, on noise of CIFAR-10's shape. "
        f"Machine: {about['machine']}."
    )
    return "\n".join([*lines, "", notes, ""])


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
