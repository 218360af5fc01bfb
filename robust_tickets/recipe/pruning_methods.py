"""The pruning methods by name. One line of `PRUNING_METHODS` registers one: nothing else names it.

The allowed values and the help of `search.pruning_method`, and the methods' own settings
(`search.<name>.<field>`), come from this table.
"""

from functools import cache
from typing import TYPE_CHECKING

from robust_tickets.recipe.registry import load_class

if TYPE_CHECKING:
    from robust_tickets.recipe.training_fields import Search
    from robust_tickets.tickets.methods.base import PruningMethod

PRUNING_METHODS = {
    "imp": "robust_tickets.tickets.methods.imp:IMP",
    "edge_popup": "robust_tickets.tickets.methods.edge_popup:EdgePopup",
    "hydra": "robust_tickets.tickets.methods.hydra:Hydra",
    "recursive": "robust_tickets.tickets.methods.recursive:Recursive",
    "snip": "robust_tickets.tickets.methods.snip:SNIP",
    "random": "robust_tickets.tickets.methods.random:Random",
}
"""Name in recipes -> module:class."""


def make_pruning_method(search: "Search") -> "PruningMethod":
    """The pruning method of a search, with its settings from the recipe."""
    return pruning_method_class(search.pruning_method)(search)


@cache
def pruning_method_class(name: str) -> type["PruningMethod"]:
    """The class of a registered pruning method. Raises TypeError for one that lacks a part."""
    base = "robust_tickets.tickets.methods.base:PruningMethod"
    return load_class("pruning method", name, PRUNING_METHODS[name], base)  # type: ignore[no-any-return]
