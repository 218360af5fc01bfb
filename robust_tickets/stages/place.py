"""What all stages need: a machine, the data on it, and the recipe's net."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attacks import ThreatModel
from robust_tickets import data, models, runs
from robust_tickets.data import SPECS, Dataset
from robust_tickets.errors import InputError
from robust_tickets.models import ModelSpec
from robust_tickets.progress import Progress
from robust_tickets.recipe import Compute, Data, Recipe, Training
from robust_tickets.training import Fit


@dataclass(frozen=True)
class Machine:
    """Where a stage runs and who watches: a torch device, and a place for progress."""

    device: str
    progress: Progress

    def prepare(self, compute: Compute) -> None:
        """Check the device and set the threads. Raises InputError for a device that is not there."""
        try:
            kind = torch.empty(0, device=self.device).device.type
        except (RuntimeError, AssertionError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"device {self.device!r} cannot be used ({reason}): try --device cpu") from None
        if kind not in ("cpu", "cuda"):
            raise InputError(
                f"device {self.device!r} cannot be used (only cpu and cuda can): try --device cpu"
            )
        if torch.device(self.device).index is not None:
            torch.cuda.set_device(self.device)  # where the ledger's events are recorded
        torch.set_num_threads(compute.threads)
        _start(self.device)


@lru_cache(maxsize=1)
def _start(device: str) -> None:
    """Take one step on one number: what PyTorch imports for its first is charged to no arm."""
    number = nn.Parameter(torch.zeros(1, device=device))
    optimiser = torch.optim.SGD([number], lr=0.0)
    number.sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()


@lru_cache(maxsize=1)
def load(which: Data, machine: Machine) -> Dataset:
    """The data set on the machine's device; read once for all stages of a process."""
    dataset = data.load(which, machine.progress.say)
    parts = {name: getattr(dataset, name).to(machine.device) for name in ("train", "val", "test")}
    return replace(dataset, **parts)


def model_spec(recipe: Recipe) -> ModelSpec:
    """What the recipe's net is, given the recipe's data."""
    spec = SPECS[recipe.data.name]
    return ModelSpec(recipe.model.name, recipe.model.width, spec.shape, spec.classes, spec.mean, spec.std)


def fresh_net(recipe: Recipe, seed: int, machine: Machine) -> nn.Module:
    """The recipe's net, initialised by the seed, on the device and in the recipe's memory format."""
    return placed(models.build(model_spec(recipe), seed=seed), recipe.compute, machine)


def placed(net: nn.Module, compute: Compute, machine: Machine) -> nn.Module:
    """The net on the device, in the memory format asked for."""
    layout = torch.channels_last if compute.channels_last else torch.contiguous_format
    return net.to(device=machine.device, memory_format=layout)  # type: ignore[call-overload, no-any-return]


def threat_model(recipe: Recipe) -> ThreatModel:
    """The recipe's threat model."""
    return ThreatModel("Linf", recipe.threat.eps.value)


def fit_of(recipe: Recipe, training: Training, epochs: int, seed: int) -> Fit:
    """What the loop needs of a recipe, for one training."""
    return Fit(training, epochs, threat_model(recipe), recipe.evaluate, recipe.compute, seed)


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line."""
    runs.write_text(path, "".join(json.dumps(record) + "\n" for record in records))
