"""Iterative magnitude pruning with adversarial training: train, prune, rewind, again."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from robust_tickets.data import Dataset
from robust_tickets.ledger import Ledger
from robust_tickets.progress import Meter
from robust_tickets.pruning import SCORES, Mask, prunable, prune
from robust_tickets.recipe import Search
from robust_tickets.training import Fit, fit
from robust_tickets.training.checkpoint import plant
from robust_tickets.training.loop import State, snapshot


@dataclass(frozen=True)
class Found:
    """What a search gives: the init it rewinds to, the mask, and a record an epoch (round from 1)."""

    init: State
    mask: Mask
    history: list[dict[str, Any]]


def find_ticket(
    net: nn.Module, data: Dataset, search: Search, how: Fit, ledger: Ledger, meter: Meter
) -> Found:
    """Find a ticket of `net` as it is now (Frankle & Carbin 2019, strategy 1; Li et al. 2020, section 3.1).

    Each of `search.rounds` rounds trains the net, under the mask so far, from its init for `search.epochs`
    epochs, and removes the share `search.ratio` of the weights that are left. With one round this is the
    one-shot pruning of Li et al. The net is left trained, as the last round had it. Raises InputError as
    `fit` and `prune` do.
    """
    init = snapshot(net)
    mask = Mask.full(net)
    history: list[dict[str, Any]] = []
    for number in range(1, search.rounds + 1):
        plant(net, init, "init")
        fitted = fit(net, mask, data, how, ledger, meter)
        history += [{"round": number, **record} for record in fitted.history]
        with ledger.phase("prune"):
            mask = prune(SCORES[search.scores](prunable(net), mask), mask, search.ratio)
        meter.note(f"round {number}/{search.rounds}  density {mask.density:.1%}")
    return Found(init, mask, history)
