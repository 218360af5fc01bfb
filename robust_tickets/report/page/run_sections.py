"""The sections on one run, in the order of the page."""

from collections.abc import Mapping
from dataclasses import dataclass

from robust_tickets.report.boosting_table import boosting_cells
from robust_tickets.report.frontier_answers import Question, answers
from robust_tickets.report.frontier_runs import read_frontier
from robust_tickets.report.frontier_table import frontier_cells, frontier_notes
from robust_tickets.report.page.cautions import cautions, without_path
from robust_tickets.report.page.checks import checks_section
from robust_tickets.report.page.inline_svg import inline_svg
from robust_tickets.report.page.markup import element, join, listing, prose
from robust_tickets.report.page.reproduction import (
    command_section,
    environment_section,
    files_section,
    recipe_section,
)
from robust_tickets.report.page.table import scroll_box, table
from robust_tickets.report.pictures.all_pictures import PICTURES
from robust_tickets.report.pictures.picture import subject
from robust_tickets.report.table_cells import titled_cells
from robust_tickets.report.tables import timing
from robust_tickets.report.timing_text import paragraphs
from robust_tickets.runs.directory import RunDirectory

QUESTION = "Which arm keeps the robust accuracy of `dense` at the least cost, with everything counted?"


@dataclass(frozen=True)
class Section:
    """A part of the page: its id, its heading, and its HTML."""

    name: str
    heading: str
    body: str


def run_sections(run: RunDirectory, drawings: Mapping[str, bytes], name: str = "") -> list[Section]:
    """The sections on a run.

    drawings: its pictures, as `all_pictures.draw_pictures` gives them.
    name: stands before their ids, where the page has several runs.
    Raises InputError if no seed is complete, and for damaged files.
    """
    sections = (
        Section("answer", "Question and answer", _answer(run)),
        Section("table", "The table", _table(run)),
        Section("frontier", "The frontier", _frontier(run)),
        Section("pictures", "Pictures", _pictures(run, drawings, name)),
        Section("early", "Early advantage", _boosting(run)),
        Section("checks", "Sanity checks", checks_section(run)),
        Section("recipe", "Recipe", recipe_section(run)),
        Section("environment", "Environment", environment_section(run)),
        Section("reproduce", "How to reproduce", command_section(run)),
        Section("files", "Where the files are", files_section(run)),
    )
    return [Section(name + each.name, each.heading, each.body) for each in sections]


def _answer(run: RunDirectory) -> str:
    answer = answers(read_frontier([run]), Question())[-1]
    warnings = listing(prose(text) for text in cautions(run))
    return join(
        [
            element("p", prose(QUESTION), class_="question"),
            element("p", prose(answer), class_="answer"),
            element("div", warnings, class_="cautions", role="note") if warnings else "",
        ]
    )


def _table(run: RunDirectory) -> str:
    rows = timing(run)
    titles, cells = titled_cells(rows)
    said = cautions(run)
    texts = [text for text in (without_path(text, run) for text in paragraphs(run, rows)) if text not in said]
    return join(
        [
            table(titles, cells, "What each arm cost, and how accurate it is"),
            *(element("p", prose(text)) for text in texts),
        ]
    )


def _frontier(run: RunDirectory) -> str:
    frontier, question = read_frontier([run]), Question()
    titles, cells = frontier_cells(frontier, question)
    notes = without_path(frontier_notes(frontier, question), run)
    texts = [*answers(frontier, question), notes]
    return join(
        [
            table(titles, cells, "Cost and robust accuracy of each arm, the cheapest first"),
            *(element("p", prose(text)) for text in texts),
        ]
    )


def _boosting(run: RunDirectory) -> str:
    titles, cells, note = boosting_cells(run)
    return table(titles, cells, "How soon each arm comes near the accuracy of dense") + element(
        "p", prose(note)
    )


def _pictures(run: RunDirectory, drawings: Mapping[str, bytes], name: str) -> str:
    parts = []
    for picture in PICTURES:
        if picture.name not in drawings:
            text = f"**{picture.heading}** is left out. {picture.missing(run)}"
            parts.append(element("p", prose(text), class_="missing"))
            continue
        title = f"{picture.heading}: {subject(run)}"
        drawing = inline_svg(drawings[picture.name], f"{name}{picture.name}", title)
        caption = element("figcaption", prose(f"**{picture.heading}.** {picture.caption(run)}"))
        parts.append(element("figure", scroll_box(drawing, picture.heading) + caption))
    return join(parts)
