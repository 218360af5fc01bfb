"""The figures of `benchmarks.gpu`: written down as they are taken, within a budget of seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import nn

from benchmarks.measuring import Records
from robust_tickets.attacks import ThreatModel
from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.data.dataset import SPECS, Dataset, Split
from robust_tickets.models.registry import ModelSpec, build
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe.fields import Compute, Evaluate
from robust_tickets.recipe.training_fields import Train
from robust_tickets.training.checkpointer import Checkpointer
from robust_tickets.training.config import Session, TrainingConfig
from robust_tickets.training.loop import TrainingResult, fit
from robust_tickets.training.methods.pgd import PGDSettings

SPEC = SPECS["cifar10"]
THREAT = ThreatModel("Linf", 8 / 255)
PRUNED = 0.8
"""Share of the weights that the masked network lacks."""


@dataclass(frozen=True)
class Gpu:
    """A device, its figures, and the time that is left to take more.

    tiny: all small, to try the program on a CPU.
    end: when the budget is used up, as `time.monotonic` counts.
    """

    device: str
    tiny: bool
    records: Records
    end: float

    @property
    def kind(self) -> str:
        return self.device.partition(":")[0]

    @property
    def pgd_steps(self) -> int:
        """Steps of the training attack where speed is measured."""
        return 2 if self.tiny else 10

    @property
    def seconds_left(self) -> float:
        return self.end - time.monotonic()

    def add(self, part: str, name: str, value: Any, *, holds: bool | None = None) -> None:
        """Write a figure down and show it.

        holds: whether it is as it has to be; None: it may be anything.
        """
        self.records.add({"kind": "figure", "part": part, "name": name, "value": value, "holds": holds})
        mark = {None: "", True: "ok  ", False: "BAD "}[holds]
        print(f"{mark}{part}: {name}: {value}", flush=True)

    def has(self, part: str, name: str) -> bool:
        return self.records.has(kind="figure", part=part, name=name)

    def wait(self) -> None:
        """Wait until the device has done all that it was sent."""
        if self.device != "cpu":
            torch.accelerator.synchronize()

    def milliseconds(self, work: Callable[[], object], repeats: int = 20) -> float:
        """The median of a call's milliseconds on the device, after three calls to warm up."""
        clock, times = clock_for(self.device), []
        for _ in range(1 if self.tiny else 3):
            work()
        self.wait()
        for _ in range(2 if self.tiny else repeats):
            begin = clock.mark()
            work()
            times.append(1000 * clock.seconds(begin, clock.mark()))
        return median(times)

    def net(self, name: str = "resnet18", width: float = 1.0) -> nn.Module:
        """A network with its first weights, on the device, channels last."""
        name, width = ("resnet14", 0.5) if self.tiny else (name, width)
        spec = ModelSpec(name, width, SPEC.shape, SPEC.classes, SPEC.mean, SPEC.std)
        return build(spec, seed=0).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def on_cpu(self) -> "Gpu":
        """The same on the CPU, to compare with."""
        return Gpu("cpu", self.tiny, self.records, self.end)


def noise(images: int, seed: int = 0) -> Split:
    """Images and labels that mean nothing."""
    generator = torch.Generator().manual_seed(1000 * seed + images)
    pixels = torch.randint(256, (images, *SPEC.shape), generator=generator, dtype=torch.uint8)
    labels = torch.randint(SPEC.classes, (images,), generator=generator)
    return Split(pixels, labels, torch.arange(images))


def noise_data(images: int, device: str) -> Dataset:
    """Noise for a training, on a device."""
    splits = (noise(images), noise(40, 1), noise(40, 2))
    return Dataset(SPEC, "noise", *(split.to(device) for split in splits), "")


@dataclass
class KeptState(Checkpointer):
    """Keeps the state before one step in memory."""

    step: int = -1
    state: dict[str, Any] | None = field(default=None, init=False)

    def due(self, step: int) -> bool:
        return step == self.step

    def save(self, step: int, state: dict[str, Any]) -> None:
        self.state = state


@dataclass(frozen=True)
class Steps:
    """A training of a few steps on noise."""

    steps: int
    batch: int
    pgd: int
    net: str = "resnet18"
    width: float = 1.0
    masked: bool = False
    compute: Compute = Compute()

    def run(
        self, gpu: Gpu, checkpointer: Checkpointer | None = None, saved: dict[str, Any] | None = None
    ) -> tuple[TrainingResult, Ledger]:
        """Train; returns what came of it, and its ledger."""
        net, mask = gpu.net(self.net, self.width), None
        if self.masked:
            full = Mask.full(net)
            mask = prune(SCORES["magnitude-over-layer-mean"](prunable_weights(net), full), full, PRUNED)
        pgd = PGDSettings(steps=self.pgd, rel_step=0.25)
        settings = Train(pgd=pgd, epochs=1, batch=self.batch, lr=0.02, schedule="constant")
        evaluate = Evaluate(val_steps=1, early_epochs=0, batch=40)
        config = TrainingConfig(settings, self.steps, THREAT, evaluate, self.compute, seed=0)
        ledger = Ledger("train", clock_for(gpu.device))
        data = noise_data(self.steps * self.batch, gpu.device)
        session = Session(ledger, checkpointer=checkpointer or Checkpointer(), saved=saved)
        with ledger.measure():
            result = fit(net, mask, data, config, session)
        return result, ledger


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Convolutions of float32 with the 10 bits of TF32, or with all of theirs, within the block."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.conv.fp32_precision
    try:
        cudnn.allow_tf32, cudnn.conv.fp32_precision = on, "tf32" if on else "ieee"
        yield
    finally:
        cudnn.allow_tf32, cudnn.conv.fp32_precision = before
