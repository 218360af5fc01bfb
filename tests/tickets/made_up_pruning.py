"""A pruning method from outside the package, as a user would write one; importable without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from robust_tickets.base.lazy import torch
from robust_tickets.base.ledger import Passes
from robust_tickets.recipe.schema import Count
from robust_tickets.tickets.methods.base import PruningAtInit


@dataclass(frozen=True)
class EveryNthSettings:
    """Settings of the made-up method."""

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
        task.session.ledger.count("prune", self.passes(None), 1000)
        return full.with_entries(list(full), torch.cat(flat))

    def passes(self, plan):
        """A forward pass a batch."""
        return Passes(forward=self.search.batch)


class WithoutMask(EveryNth):
    """Lacks the mask."""

    mask = PruningAtInit.mask


class WithoutDocstring(EveryNth):
    Settings = EveryNthSettings


@dataclass(frozen=True)
class NoDefault:
    """Settings without a default."""

    n: int


class WithoutDefault(EveryNth):
    """Has settings that lack a default."""

    Settings = NoDefault


class WithoutBase:
    """Has no base class."""
