"""The search for a ticket."""

from dataclasses import replace

from torch import nn

from robust_tickets.data.dataset import Dataset
from robust_tickets.recipe.fields import Search
from robust_tickets.recipe.pruning_methods import make_pruning_method
from robust_tickets.tickets.methods.base import Rounds, SearchResult
from robust_tickets.training.config import Session, TrainingConfig


def find_ticket(
    net: nn.Module,
    data: Dataset,
    search: Search,
    config: TrainingConfig,
    session: Session,
    rounds: Rounds = Rounds(),
) -> SearchResult:
    """Find a ticket of a network by the search's pruning method, on the search's share of the images.

    Parameters and what is raised as for `PruningMethod.find`.
    """
    if search.images:
        data = replace(data, train=data.train.first(search.images))
    return make_pruning_method(search).find(net, data, config, session, rounds)
