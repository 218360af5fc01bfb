"""What tests of trainings share: one short training, its masks and images, and a checkpointer in memory."""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from robust_tickets.base.ledger import Ledger
from robust_tickets.data.dataset import SPECS, Dataset, Spec, Split, number_samples
from robust_tickets.models.weights import StateDict
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.training.checkpointer import Checkpointer
from robust_tickets.training.config import Session, TrainingConfig
from robust_tickets.training.loop import TrainingResult, fit


def train(
    net: nn.Module, mask: Mask | None, data: Dataset, config: TrainingConfig, *meter: Any, **session: Any
) -> tuple[TrainingResult, Ledger]:
    """Train a network; `meter` and `session` are fields of its Session. Gives the result and its ledger."""
    ledger = Ledger("train")
    if session.get("saved"):
        ledger.add_report(session["saved"]["ledger"])
    with ledger.measure():
        result = fit(net, mask, data, config, Session(ledger, *meter, **session))
    return result, ledger


def same_state(one: StateDict, other: StateDict) -> bool:
    """Whether two state dicts are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def half_mask(net: nn.Module, ratio: float = 0.5) -> Mask:
    """The mask without the half of the weights that are the smallest beside their layer's mean."""
    full = Mask.full(net)
    return prune(SCORES["magnitude-over-layer-mean"](prunable_weights(net), full), full, ratio)


def noise_split(n: int, spec: Spec = SPECS["cifar10"]) -> Split:
    """So many images of noise, with labels."""
    pixels = torch.randint(256, (n, *spec.shape), generator=torch.Generator().manual_seed(n))
    return number_samples(pixels.to(torch.uint8), torch.arange(n) % spec.classes)


def noise_data(train: int, validation: int) -> Dataset:
    """Noise of the shape of CIFAR-10's images: so many for training, and for validation and test each."""
    splits = [noise_split(n) for n in (train, validation, validation)]
    return Dataset(SPECS["cifar10"], "noise", *splits, "")


@dataclass
class EveryState(Checkpointer):
    """A checkpointer that keeps all states in memory, with the identity of the training of each."""

    states: list[dict[str, Any]] = field(default_factory=list)
    identities: list[dict[str, Any]] = field(default_factory=list)

    def due(self, step: int) -> bool:
        """Always."""
        return True

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Keep a copy."""
        self.states.append(copy.deepcopy(state))
        self.identities.append(self.identity)
