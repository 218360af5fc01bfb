"""How many steps a budget pays for, by arithmetic."""

import math
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.recipe.budget import Budget
from robust_tickets.recipe.field_names import FieldNames

_MOST_STEPS = 2**31 - 1  # as of iterations


class Rates(Protocol):
    """What a pass of the network of an arm costs; asked only where a length depends on it."""

    @property
    def flops(self) -> int:
        """FLOPs of a forward pass on one image."""

    @property
    def pass_seconds(self) -> float:
        """Seconds of a forward pass's worth of the arm's training, on this machine."""

    @property
    def statistics(self) -> bool:
        """Whether it has BatchNorm statistics, which a weight average estimates anew."""


class UnknownRates:
    """Stands in where no budget asks for a rate; the network is taken to have BatchNorms."""

    statistics = True

    @property
    def flops(self) -> int:
        """There are none."""
        raise ValueError("a budget in FLOPs needs the FLOPs of the network: pass its rates")

    @property
    def pass_seconds(self) -> float:
        """There are none."""
        raise ValueError("a budget in seconds needs those of a pass: pass the rates of the network")


@dataclass(frozen=True)
class ShareOfRates:
    """The rates of a network whose passes cost a share of another one's."""

    whole: Rates
    share: float

    @property
    def flops(self) -> int:
        """The share of the other network's."""
        return round(self.whole.flops * self.share)

    @property
    def pass_seconds(self) -> float:
        """The share of the other network's."""
        return self.whole.pass_seconds * self.share

    @property
    def statistics(self) -> bool:
        """As the other network has."""
        return self.whole.statistics


def steps_within(
    budget: Budget,
    passes: Callable[[int], Passes],
    rates: Rates,
    names: FieldNames = FieldNames(),
    field: Literal["budget", "ticket_budget"] = "budget",
) -> int:
    """The most steps that cost no more than a budget.

    passes: of a schedule of so many steps.
    rates: of the network that is trained.
    names: of the fields of the training, and field: the one with the budget; for messages.

    Raises InputError for a budget that is shorter than one step.
    """

    def cost(steps: int) -> float:
        cost = passes(steps)
        if budget.unit == "passes":
            return cost.total
        return cost.cost * (rates.flops if budget.unit == "flops" else rates.pass_seconds)

    if cost(1) > budget.amount:
        raise InputError(
            f"{names(field)} {budget} is shorter than one step{names.of_owner}, which takes "
            f"{_amount(cost(1), budget)}: give at least that, or a smaller {names('batch')}"
        )
    beyond = 2
    while cost(beyond) <= budget.amount:
        if beyond > _MOST_STEPS:
            raise InputError(
                f"{names(field)} {budget} pays for more than {_MOST_STEPS:,} steps: give a smaller one"
            )
        beyond *= 2
    return bisect(range(1, beyond), budget.amount, key=cost)


def _amount(cost: float, budget: Budget) -> str:
    """A cost as a budget of the same unit is written."""
    if budget.unit == "seconds":
        return f"about {cost:.2g}s on this machine"
    return f"{math.ceil(cost)}{budget.unit}"
