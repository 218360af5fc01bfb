"""The lengths that a schedule can have, in optimiser steps."""

from bisect import bisect
from dataclasses import dataclass, replace
from typing import Literal

from robust_tickets.base.ledger import Passes
from robust_tickets.data.batches import steps_per_epoch
from robust_tickets.data.dataset import Spec
from robust_tickets.recipe.arm_training import arm_training
from robust_tickets.recipe.budget import Budget
from robust_tickets.recipe.field_names import FieldNames
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Train, Training
from robust_tickets.stages.budgets import Rates, ShareOfRates, UnknownRates, steps_within
from robust_tickets.stages.costs import pass_share, search_cost, training_images, training_passes


@dataclass(frozen=True)
class TicketCost:
    """What a ticket took and takes.

    search: FLOPs of its search.
    ticket: FLOPs of a forward pass of the network that is trained from it.
    dense: FLOPs of a forward pass of the whole network.
    steps: of its training, where they follow from a timing; None: they follow from the recipe.
    seconds: charged to its search and its training; None: it is not trained yet.
    """

    search: int
    ticket: int
    dense: int
    steps: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class StepLengths:
    """The lengths that a schedule can have, in optimiser steps.

    training: the settings of the steps that are counted.
    cost: of the ticket; None: not known yet, so that lengths are those for a search that does not end early
        and a ticket that has lost no channel, or the same share of each layer's.
    rates: of the network that is trained, for budgets and averaged weights.
    names: of the fields of the training, for messages.
    """

    recipe: Recipe
    spec: Spec
    training: Training
    cost: TicketCost | None = None
    rates: Rates = UnknownRates()
    names: FieldNames = FieldNames()

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        images = training_images(self.recipe.data, self.spec, self.training, self.names("images"))
        return steps_per_epoch(images, self.training.batch, self.names("batch"))

    @property
    def full(self) -> int:
        """The full schedule."""
        train = self._train
        if train.budget is not None:
            return self._within(train.budget, "budget")
        return train.iterations or train.epochs * self.per_epoch

    @property
    def short(self) -> int:
        """The short schedule."""
        train = self._train
        if train.budget is not None:
            if train.ticket_budget is not None:
                return self._within(train.ticket_budget, "ticket_budget")
            return self._within(train.budget, "budget")
        return train.ticket_iterations or train.ticket_epochs * self.per_epoch

    @property
    def equal_cost(self) -> int:
        """As long as search and ticket cost in FLOPs, rounded up in favour of the whole network.

        To whole epochs, unless the recipe gives iterations or a budget. A network with zeros runs as many
        FLOPs as the whole one, one without its dead channels fewer.
        """
        return self._equal_flops(self._unit)

    @property
    def amortised(self) -> int:
        """As long as the ticket's training and its share of the search, which `compare.reuses` trainings use.

        In FLOPs, rounded up to a step in favour of the whole network.
        """
        return self._equal_flops(1, searches=1 / self.recipe.compare.reuses)

    @property
    def ticket_equal_cost(self) -> int:
        """As `equal_cost`, for a network that is as large as the one that is trained from the ticket."""
        price = self._ticket_share if self.cost is None else self.cost.ticket
        return self._equal_flops(self._unit, price)

    @property
    def _unit(self) -> int:
        """The steps that lengths at equal cost are multiples of."""
        train = self._train
        return 1 if train.iterations or train.budget is not None else self.per_epoch

    @property
    def equal_seconds(self) -> int:
        """As long as search and ticket took in seconds, rounded up to a step in favour of the whole network.

        Before they are known: as long as they cost in FLOPs.
        """
        if self.cost is None or self.cost.seconds is None:
            return self._equal_flops(1)
        return self._as_long_as(self.cost.seconds, price=self.rates.pass_seconds)

    def _equal_flops(self, unit: int, price: float | None = None, searches: float = 1.0) -> int:
        """As long as the ticket's training and so many searches."""
        if self.cost is not None:
            flops = self.cost.search * searches + self._ticket_passes * self.cost.ticket
            return self._as_long_as(flops, unit, price)
        passes = search_cost(self.recipe, self.spec) * searches + self._ticket_passes * self._ticket_share
        return self._as_long_as(passes, unit, price)

    @property
    def search_cost(self) -> int:
        """As long as the search costs in FLOPs, rounded up to a step in favour of the whole network."""
        cost = self.cost.search if self.cost is not None else search_cost(self.recipe, self.spec)
        return self._as_long_as(cost)

    @property
    def ticket_cost(self) -> int:
        """As long as the ticket's training costs in FLOPs, rounded up to a step, as `search_cost` is."""
        share = self.cost.ticket if self.cost is not None else self._ticket_share
        return self._as_long_as(self._ticket_passes * share)

    @property
    def _train(self) -> Train:
        """The settings that have the lengths of the full and the short schedule."""
        return self.training if isinstance(self.training, Train) else self.recipe.train

    def _within(self, budget: Budget, field: Literal["budget", "ticket_budget"]) -> int:
        """The most steps within a budget, which a field gives."""
        return steps_within(budget, self._passes, self.rates, self.names, field)

    def _as_long_as(self, cost: float, unit: int = 1, price: float | None = None) -> int:
        """The fewest steps, a multiple of `unit`, that cost at least so much.

        cost: in FLOPs, or in forward passes of the whole network where the ticket's cost is not known yet.
        price: of a forward pass; None: of the whole network's.
        """
        if price is None:
            price = 1 if self.cost is None else self.cost.dense

        def is_short(units: int) -> bool:
            return self._passes(units * unit).cost * price < cost

        most = 1
        while is_short(most):
            most *= 2
        return bisect(range(most + 1), False, key=lambda units: not is_short(units)) * unit

    @property
    def _ticket_passes(self) -> int:
        """Passes of the ticket's training."""
        share = self._ticket_share if self.cost is None else self.cost.ticket / self.cost.dense
        training, rates = arm_training(self.recipe, "ticket"), ShareOfRates(self.rates, share)
        names = FieldNames.of_arm(self.recipe, "ticket")
        own = replace(self, training=training, rates=rates, names=names)
        steps = own.short if self.cost is None or self.cost.steps is None else self.cost.steps
        return own._passes(steps).cost

    def _passes(self, steps: int) -> Passes:
        """Passes of so many steps."""
        averaged = isinstance(self.training, Train) and self.training.average > 0
        statistics = averaged and self.rates.statistics
        return training_passes(self.training, steps, self.spec.classes, self.per_epoch, statistics)

    @property
    def _ticket_share(self) -> float:
        """FLOPs of a pass of the ticket's network, as a share of the whole one's."""
        return pass_share(self.recipe.search, self.recipe.search.rounds)
