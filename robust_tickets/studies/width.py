"""Study width: is the init worth more to the ticket of a wide network?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.schema import Positive
from robust_tickets.studies.base import Cell, Comparison, Hypothesis, Study
from robust_tickets.studies.cells import needs_data, smallest_and_largest, with_dense

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe
    from robust_tickets.stages.experiment import Experiment


def _cells(base: "Recipe", widths: tuple[float, ...]) -> Iterator[Cell]:
    for width in widths:
        yield Cell(f"{width:g}", with_dense(replace(base, model=replace(base.model, width=width))))


def _check_networks(experiment: "Experiment", cells: Sequence[Cell]) -> None:
    """Raise InputError for two widths that give the same network."""
    settings: dict[tuple[object, ...], str] = {}
    for cell in cells:
        net = replace(experiment, recipe=cell.recipe).fresh_net(0)
        shapes = tuple(parameter.shape for parameter in net.parameters())
        twin = settings.setdefault(shapes, cell.setting)
        if twin != cell.setting:
            raise InputError(
                f"study width: {twin} and {cell.setting} are the same network, as channels come in multiples "
                "of 8: leave one out of study.width"
            )


def _hypotheses(settings: Sequence[str], arms: Sequence[str]) -> list[Hypothesis]:
    """The difference that the init makes at the largest width, minus that at the smallest."""
    low, high = smallest_and_largest(settings)
    comparison = Comparison(
        f"ticket minus ticket-reinit at width {high}, minus the same at {low}",
        (high, "ticket"),
        (high, "ticket-reinit"),
        baseline=((low, "ticket"), (low, "ticket-reinit")),
    )
    text = "The init is worth more to the ticket of a wide network than to that of a narrow one"
    return [Hypothesis(text, [comparison])]


STUDY = Study(
    name="width",
    question="is the init worth more to the ticket of a wide network?",
    help="factors on the network's hidden widths",
    setting_type=Positive,
    defaults=(0.1, 0.2, 0.5, 1.0),
    cells=_cells,
    hypotheses=_hypotheses,
    figure="early",
    axis="width of the network",
    varies="model.width",
    least_settings=2,
    needs=(needs_data,),
    check_networks=_check_networks,
)
