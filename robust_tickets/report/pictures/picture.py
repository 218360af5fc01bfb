"""What a picture of a run directory is, and the title that all of them have."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from robust_tickets.models.title import network_title
from robust_tickets.report.figures import Form, image
from robust_tickets.report.read import complete_seeds, data_title
from robust_tickets.runs.directory import RunDirectory

_CHARACTERS_AN_INCH = 11
"""Of a title, at its size of 10 points."""


def nothing_missing(run: RunDirectory) -> str:
    """Of a picture that every run with a complete seed has."""
    return ""


@dataclass(frozen=True)
class Picture:
    """A picture that is drawn from a run directory's files.

    name: of its files, without the ending.
    heading: what it shows, in a few words.
    caption: how to read it, a sentence.
    draw: makes the matplotlib figure.
    missing: why it cannot be drawn, as a sentence; empty where it can be.
    """

    name: str
    heading: str
    caption: Callable[[RunDirectory], str]
    draw: Callable[[RunDirectory], Any]
    missing: Callable[[RunDirectory], str] = nothing_missing

    def image(self, run: RunDirectory, form: Form = "svg") -> bytes:
        """The picture as the bytes of a file."""
        return image(self.draw(run), form)


def subject(run: RunDirectory) -> str:
    """Data, network, threat model and seeds, in a line."""
    model, threat = run.recipe.model, run.recipe.threat
    network = network_title(model.name, model.width)
    seeds = complete_seeds(run)
    numbers = ", ".join(map(str, seeds))
    return f"{data_title(run)}, {network}, {threat.norm} {threat.eps}, seed{'s' * (len(seeds) > 1)} {numbers}"


def set_title(figure: Any, run: RunDirectory, heading: str) -> None:
    """Write what a picture shows, and under it of which data, network, threat model and seeds."""
    columns = round(_CHARACTERS_AN_INCH * figure.get_size_inches()[0])
    lines = textwrap.wrap(subject(run), columns)
    # names may have dollar signs, which would begin a formula
    figure.suptitle("\n".join([heading, *lines]), fontsize=10, parse_math=False)
