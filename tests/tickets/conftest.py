"""A search on the tiny recipe, without a run directory; a recipe for channels, and a network without."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import nn

from robust_tickets.base.ledger import Ledger
from robust_tickets.data.dataset import Dataset
from robust_tickets.recipe.fields import Model
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.stages import costs
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.methods.base import SearchPlan, SearchResult, SearchTask
from robust_tickets.tickets.search import find_ticket
from robust_tickets.training.config import Session, TrainingConfig


@dataclass(frozen=True)
class TestSearch:
    """A search that can be run several times.

    recipe, plan, config: what it does.
    ledger: what it cost.
    """

    __test__ = False
    recipe: Recipe
    data: Dataset

    @property
    def plan(self) -> SearchPlan:
        return costs.search_plan(self.recipe, self.data.spec)

    @property
    def config(self) -> TrainingConfig:
        return Experiment(self.recipe).config(self.recipe.search, self.plan.round_steps, 0)

    def net(self) -> nn.Module:
        """The network at its init."""
        return Experiment(self.recipe).fresh_net(0)

    def run(
        self,
        net: nn.Module | None = None,
        ledger: Ledger | None = None,
        session: Mapping[str, Any] = MappingProxyType({}),
        **rounds: Any,
    ) -> SearchResult:
        """Find the ticket of a network, by default that of `net()`.

        session: further fields of its Session.
        rounds: `earlier` and `save` of its SearchTask.
        """
        ledger = Ledger("search") if ledger is None else ledger
        net = self.net() if net is None else net
        task = SearchTask(net, self.data, self.config, Session(ledger, **session), **rounds)
        with ledger.measure():
            return find_ticket(self.recipe.search, task)


@pytest.fixture
def search_of(tiny_data: Dataset) -> Callable[..., TestSearch]:
    """A search by a recipe with some of its search fields changed."""

    def build(recipe: Recipe, data: Dataset = tiny_data, **fields: Any) -> TestSearch:
        recipe = replace(recipe, search=replace(recipe.search, **fields))
        return TestSearch(recipe, data)

    return build


@pytest.fixture(scope="session")
def channel_recipe(tiny_recipe: Recipe) -> Recipe:
    """Conv-2 with 16 feature maps a layer and 64 hidden units, pruned by channels."""
    search = replace(tiny_recipe.search, granularity="channel", rounds=2, ratio=0.3)
    return replace(tiny_recipe, model=Model("conv-2", width=0.25), search=search)


class FixedWidth(nn.Module):
    """A network that is written for 16 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(1, 16, 3, padding=1)
        self.two = nn.Conv2d(16, 16, 3, padding=1)
        self.end = nn.Linear(16, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        ramp = torch.arange(16.0).view(16, 1, 1).to(images)
        return self.end(self.two(self.one(images) + ramp).relu().mean((2, 3)))


@pytest.fixture
def fixed_width() -> Callable[[], nn.Module]:
    """Makes networks whose channels cannot be removed."""
    return FixedWidth
