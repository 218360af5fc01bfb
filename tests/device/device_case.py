"""A tiny experiment on a device, and a training of its network."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.models.user_net import function_name
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import Compare, Compute, Data, Evaluate, Model, Threat
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Search, Train
from robust_tickets.runs.files import write_json
from robust_tickets.stages.experiment import Experiment
from robust_tickets.training.checkpointer import Checkpointer
from robust_tickets.training.config import Session
from robust_tickets.training.loop import fit
from robust_tickets.training.methods.pgd import PGDSettings

Part = Callable[[str, Path], None]
"""One part of the work: takes a device and leaves files in a folder."""


class Net(nn.Sequential):
    """A network with what needs care on a device: BatchNorm, dropout, a constant of its own."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.25), nn.Linear(32, 10),
        )  # fmt: skip
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images - 0.5) * self.scale


RECIPE = Recipe(
    name="tiny",
    data=Data("digits", train_images=48, val_images=20),
    model=Model(function_name(Net)),
    threat=Threat(Eps("0.1")),
    search=Search(batch=16, lr=0.1, method="fgsm", epochs=1, rounds=2, ratio=0.5, rewind_iterations=1),
    train=Train(pgd=PGDSettings(steps=2, rel_step=0.5), epochs=2, ticket_epochs=1, batch=16, lr=0.1),
    evaluate=Evaluate(images=20, batch=10, val_steps=2),
    compute=Compute(threads=1),
    compare=Compare(arms=("dense", "ticket")),
)


def experiment(device: str, recipe: Recipe = RECIPE, net: Callable[[], nn.Module] | None = Net) -> Experiment:
    """The tiny experiment on a device; net None: the recipe's own network."""
    return Experiment(recipe, net, None, Machine(device, SilentProgress()))


def train(
    device: str,
    folder: Path,
    method: str,
    *,
    steps: int = 6,
    norm: str = "Linf",
    optimiser: str = "sgd",
    precision: str = "float32",
    wrappers: Mapping[str, Any] = {},
    resumed: bool = False,
) -> None:
    """Epochs of three steps by one method, of a network half of whose weights are pruned.

    wrappers: settings of those that are on.
    resumed: goes on from a state on disk before its last step.
    """
    compute = replace(RECIPE.compute, precision=precision)
    recipe = replace(RECIPE, compute=compute, threat=Threat(Eps("0.1"), norm))
    work = experiment(device, recipe)
    work.prepare()
    data, net = work.load(), work.fresh_net(0)
    full = Mask.full(net)
    mask = prune(SCORES["magnitude-over-layer-mean"](prunable_weights(net), full), full, 0.5)
    ledger = Ledger("train", clock_for(device))
    config = work.config(replace(recipe.train, method=method, optimiser=optimiser, **wrappers), steps, 0)
    session = Session(ledger)
    if resumed:
        session = Session(ledger, checkpointer=Checkpointer(folder, {}, minutes=0, steps=steps - 1))
        with Ledger("train", clock_for(device)).measure():
            fit(work.fresh_net(0), mask, data, config, session)
        session = replace(session, saved=session.checkpointer.newest())
        assert session.saved is not None
    with ledger.measure():
        result = fit(net, mask, data, config, session)
    save_file(result.best, folder / "best.safetensors")
    save_file(result.last, folder / "last.safetensors")
    if result.average is not None:
        save_file(result.average, folder / "average.safetensors")
    write_json(folder / "history.json", {"epochs": result.history, **ledger.report()})
