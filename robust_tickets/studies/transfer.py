"""Study transfer: does a ticket that another recipe found have an early advantage?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.methods import make_method
from robust_tickets.studies.base import Cell, Comparison, Hypothesis, Source, Study
from robust_tickets.studies.cells import needs_data, with_dense
from robust_tickets.studies.changes import changed

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe


def _cells(base: "Recipe", changes: tuple[str, ...]) -> Iterator[Cell]:
    """The ticket that the base finds with one field changed, trained by the base as it is."""
    for change in changes:
        yield Cell(change, with_dense(base), (Source("ticket-from", changed_recipe(base, change)),))


def changed_recipe(base: "Recipe", change: str) -> "Recipe":
    """The recipe with one field changed, as by "threat.eps=4/255".

    Raises InputError for a text that changes nothing, or no field of data, threat or search.
    """
    name = f"study.transfer {change!r}"
    recipe = changed(base, [change], ("data", "threat", "search"), name)
    if recipe.data.name != base.data.name:  # the root is where the base's images are
        recipe = replace(recipe, data=replace(recipe.data, root=None))
    if recipe.identity == base.identity:
        raise InputError(f"{name} changes nothing: the recipe has that already")
    if recipe.threat != base.threat and not make_method(base.search).attacks:
        raise InputError(f"{name} changes nothing: a natural search has no adversary")
    return recipe


def _hypotheses(settings: Sequence[str], arms: Sequence[str]) -> list[Hypothesis]:
    comparisons = [
        Comparison(
            f"ticket found with {change} minus ticket-reinit",
            (change, "ticket-from"),
            (change, "ticket-reinit"),
        )
        for change in settings
    ]
    text = "A ticket that another recipe found has an early advantage over the own mask with a new init"
    return [Hypothesis(text, comparisons)]


STUDY = Study(
    name="transfer",
    question="does a ticket that another recipe found have an early advantage over a new init?",
    help="changes of the recipe that finds another ticket, which the recipe as it is trains: of data (of the "
    "same shape and classes), threat or search",
    setting_type=str,
    defaults=("threat.eps=4/255", "search.method=natural"),
    cells=_cells,
    hypotheses=_hypotheses,
    figure="early",
    axis="change of the recipe that found the ticket",
    metavar="FIELD=VALUE...",
    needs=(needs_data,),
)
