"""A pruning method is registered by one line, and everything else asks it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import pytest
import torch

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger, Passes
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Search
from robust_tickets.recipe.pruning_methods import PRUNING_METHODS, make_pruning_method, pruning_method_class
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import plan as planning
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.search import search as search_stage
from robust_tickets.tickets.inspection import describe_ticket
from robust_tickets.tickets.methods.base import PruningAtInit, PruningMethod
from robust_tickets.tickets.methods.random import RandomSettings
from robust_tickets.tickets.ticket import Ticket


@dataclass(frozen=True)
class EveryNthSettings:
    """The weights of method every_nth."""

    n: int = 2


class EveryNth(PruningAtInit):
    """Every n-th weight of a layer is kept."""

    Settings = EveryNthSettings
    unused: ClassVar[Mapping[str, str]] = {**PruningAtInit.unused, "ratio": "which keeps every n-th weight"}

    def mask(self, net, data, config, step, ledger):
        """Every n-th of each layer."""
        full = Mask.full(net)
        flat = torch.cat([torch.arange(entries.numel()) % self.settings.n == 0 for entries in full.values()])
        ledger.count("prune", self.passes(None), 1)
        return full.with_entries(list(full), flat)

    def passes(self, plan):
        """Pretends to need three."""
        return Passes(forward=3)


@pytest.fixture
def every_nth(monkeypatch):
    monkeypatch.setitem(PRUNING_METHODS, "every_nth", f"{__name__}:EveryNth")
    monkeypatch.setattr("importlib.import_module", lambda name: __import__("sys").modules[name])


class NoMask(PruningAtInit):
    """Lacks the mask and what it costs."""


class Undocumented(EveryNth):
    pass


@dataclass(frozen=True)
class NoDefault:
    """Lacks a default."""

    n: int


class NoDefaultSettings(EveryNth):
    """Has such settings."""

    Settings = NoDefault
