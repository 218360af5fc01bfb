"""The pictures of a run directory, in the order of its report. One line registers one."""

from pathlib import Path

from robust_tickets.report.figures import Form
from robust_tickets.report.frontier_plot import frontier_figure
from robust_tickets.report.frontier_runs import read_frontier
from robust_tickets.report.pictures.curves import CURVES, EPOCHS
from robust_tickets.report.pictures.layers import LAYERS
from robust_tickets.report.pictures.mask_distance import MASK_DISTANCE
from robust_tickets.report.pictures.over_eps import OVER_EPS
from robust_tickets.report.pictures.phases import PHASES_PICTURE
from robust_tickets.report.pictures.picture import Picture
from robust_tickets.runs.directory import RunDirectory

FRONTIER = Picture(
    "frontier",
    "The frontier of cost and robust accuracy",
    lambda run: (
        "Large marks are means, small ones single seeds; faint: another arm costs no more and is as robust."
    ),
    lambda run: frontier_figure(read_frontier([run])),
)

PICTURES = (FRONTIER, CURVES, PHASES_PICTURE, EPOCHS, OVER_EPS, LAYERS, MASK_DISTANCE)


def draw_pictures(run: RunDirectory, form: Form = "svg") -> dict[str, bytes]:
    """The pictures whose data are there, by name, as the bytes of their files."""
    return {picture.name: picture.image(run, form) for picture in PICTURES if not picture.missing(run)}


def picture_file(run: RunDirectory, name: str, form: Form) -> Path:
    """The file of a picture in a run directory."""
    return run.path / f"{name}.{form}"
