"""The search for a ticket."""

from dataclasses import replace

from robust_tickets.recipe.pruning_methods import make_pruning_method
from robust_tickets.recipe.training_fields import Search
from robust_tickets.tickets.methods.base import SearchResult, SearchTask


def find_ticket(search: Search, task: SearchTask) -> SearchResult:
    """Find a ticket by the search's pruning method, on the search's share of the task's images.

    Raises InputError as `PruningMethod.find` does.
    """
    if search.images:
        data = replace(task.data, train=task.data.train.first(search.images))
        task = replace(task, data=data)
    return make_pruning_method(search).find(task)
