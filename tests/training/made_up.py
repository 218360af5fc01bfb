"""A training method, a wrapper and a pruning method from outside the package; importable without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from robust_tickets.base.lazy import F, torch
from robust_tickets.base.ledger import Passes
from robust_tickets.recipe.schema import Count, Positive
from robust_tickets.tickets.methods.base import PruningAtInit
from robust_tickets.training.methods.base import Method, StepPasses, input_gradient
from robust_tickets.training.wrappers.base import Wrapper


@dataclass(frozen=True)
class MadeUpSettings:
    """Settings of the training method."""

    weight: Positive = 2.0
    """weight of the adversarial loss at the end of the schedule"""


class MadeUp(Method):
    """One step along the mean of all gradients that a sample has had."""

    Settings = MadeUpSettings

    def __init__(self, settings):
        super().__init__(settings)
        self.memory = torch.zeros(0)

    def perturb(self, nets, batch):
        """A step of eps from the image."""
        if len(self.memory) == 0:
            self.memory = torch.zeros(2000, *batch.images.shape[1:])
        gradient = input_gradient(
            nets.attack, batch.images, lambda logits: F.cross_entropy(logits, batch.labels, reduction="sum")
        )
        self.memory[batch.ids] += gradient
        return (batch.images + batch.threat.eps * self.memory[batch.ids].sign()).clamp(0, 1)

    def loss(self, nets, batch, adversarial):
        """Clean loss, and an adversarial one that counts more and more."""
        clean = F.cross_entropy(nets.update(batch.images), batch.labels)
        weight = self.settings.weight * batch.step.progress
        return clean + weight * F.cross_entropy(nets.update(adversarial), batch.labels)

    def attack_steps(self):
        """One."""
        return 1

    def passes(self, samples, step):
        """One attack step, and two passes in the update."""
        return StepPasses(Passes(samples, samples), Passes(forward=2 * samples, full_backward=2 * samples))

    def state_dict(self):
        """The gradients' sums."""
        return {"memory": self.memory}

    def load_state_dict(self, state):
        """Take them over."""
        self.memory = state["memory"]


@dataclass(frozen=True)
class LouderSettings:
    """A louder loss, over any method."""

    factor: Positive = 1.0
    """what the loss is multiplied by; 1: nothing"""


class Louder(Wrapper):
    """The method's loss times a factor."""

    Settings = LouderSettings
    switch = "factor"

    def loss(self, nets, batch, adversarial):
        """The inner method's loss times the factor."""
        return self.settings.factor * super().loss(nets, batch, adversarial)


@dataclass(frozen=True)
class EveryNthSettings:
    """Settings of the pruning method."""

    n: Count = 2
    """keep one weight of so many"""


class EveryNth(PruningAtInit):
    """Every n-th weight, without training."""

    Settings = EveryNthSettings
    unused: ClassVar[Mapping[str, str]] = {**PruningAtInit.unused, "ratio": "which keeps every n-th weight"}

    def mask(self, task, step):
        """Every n-th weight of each layer; pretends to need a forward pass a batch."""
        from robust_tickets.pruning.mask import Mask

        full = Mask.full(task.net)
        flat = [torch.arange(entries.numel()) % self.settings.n == 0 for entries in full.values()]
        task.session.ledger.count("prune", self.passes(None, 10), 1000)
        return full.with_entries(list(full), torch.cat(flat))

    def passes(self, plan, classes):
        """A forward pass a batch."""
        return Passes(forward=self.search.batch)
