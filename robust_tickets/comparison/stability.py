"""The stability of a ticket: two trainings from it in a run directory, and the error between them."""

from dataclasses import dataclass
from pathlib import Path

from robust_tickets.base.errors import InputError
from robust_tickets.comparison.compare import train_from
from robust_tickets.recipe.arm_training import training_of
from robust_tickets.report.stability import LINES, stability_plot, stability_text
from robust_tickets.runs import files
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.stages.connectivity import STABLE, instability, line_errors
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.timed_plan import is_timed
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint

DIGITS = 6
"""Significant digits of the errors in the table."""


@dataclass(frozen=True)
class Stability:
    """The files of a measurement, which lie in the folder of its first training, and its text."""

    text: str
    table: Path
    figure: Path


def measure_stability(
    experiment: Experiment, seed: int, runs: Path, ticket: Path, *, points: int = 11, batches: int = 20
) -> Stability:
    """Train a ticket with two seeds, unless that is done, and measure the error on the line between both.

    seed: of the first training; the second has the next one.
    runs: the folder of the run directories.
    points: weights on the line that are evaluated, both ends included.
    batches: training batches that BatchNorm statistics are estimated on at each point.

    Init, mask and schedule are the same; order of the data and random numbers of attacks differ. Raises
    InputError for a ticket that does not fit the recipe's network.
    """
    if is_timed(experiment.recipe, "ticket"):
        raise InputError(
            "a budget in time gives the two trainings different lengths: give train.ticket_epochs, or a "
            "budget in passes or FLOPs"
        )
    folders = [ArmDirectory(train_from(experiment, number, runs, ticket)) for number in (seed, seed + 1)]
    one, other = (Checkpoint.load(folder.last) for folder in folders)
    training = training_of(experiment.recipe, "ticket")
    errors = line_errors(experiment, (one, other), training, points, batches)
    values = {column: instability(errors[column]) for column in LINES}
    images = experiment.recipe.evaluate.images or len(experiment.load().test)
    name = f"stability-seeds-{seed}-{seed + 1}"
    table, figure = (folders[0].path / f"{name}.{suffix}" for suffix in ("csv", "svg"))
    model = Ticket.load(ticket).model
    title = f"{experiment.load().title} · {model.name} × {model.width:g} · seeds {seed} and {seed + 1}"
    files.write_text(table, files.csv_text(errors, DIGITS))
    files.write(figure, lambda part: stability_plot(errors, title, part))
    return Stability(stability_text(errors, values, STABLE, images), table, figure)
