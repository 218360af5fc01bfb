"""The report of a run directory, written into it; and a frontier, written into any folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from robust_tickets.report.boosting_table import boosting_csv, boosting_markdown
from robust_tickets.report.candidates import Frontier
from robust_tickets.report.contrasts import contrasts_csv
from robust_tickets.report.figures import Form, image
from robust_tickets.report.frontier_answers import Question
from robust_tickets.report.frontier_plot import frontier_figure
from robust_tickets.report.frontier_runs import read_frontier
from robust_tickets.report.frontier_table import frontier_csv, frontier_markdown
from robust_tickets.report.page.page import report_page
from robust_tickets.report.pictures.all_pictures import draw_pictures, picture_file
from robust_tickets.report.timing_text import csv, markdown
from robust_tickets.runs.arm_directory import FrontierFolder
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import write_bytes, write_text


def write_report(run: RunDirectory, strips: Sequence[Path] = ()) -> None:
    """Write the tables of timing, early advantage and frontier, the pictures as SVG, and all of it as a page.

    strips: files of adversarial images that the page shows too.
    A picture whose data are not there is left out. Raises InputError if no seed is complete.
    """
    write_text(run.timing_csv, csv(run))
    write_text(run.timing_markdown, markdown(run))
    write_text(run.boosting_csv, boosting_csv(run))
    write_text(run.boosting_markdown, boosting_markdown(run))
    if run.recipe.compare.wanted_contrasts:
        write_text(run.contrasts_csv, contrasts_csv(run))
    _write_tables(read_frontier([run]), Question(), FrontierFolder(run.path))
    drawings = draw_pictures(run)
    _write_drawings(run, drawings, "svg")
    write_text(run.page, report_page([run], [drawings], strips))


def write_pictures(run: RunDirectory, form: Form = "svg") -> list[Path]:
    """Write the pictures whose data are there, and return their files."""
    return _write_drawings(run, draw_pictures(run, form), form)


def _write_drawings(run: RunDirectory, drawings: Mapping[str, bytes], form: Form) -> list[Path]:
    written = [picture_file(run, name, form) for name in drawings]
    for file, content in zip(written, drawings.values(), strict=True):
        write_bytes(file, content)
    return written


def write_page(runs: Sequence[RunDirectory], file: Path, strips: Sequence[Path] = ()) -> None:
    """Write the report of one run or several as one HTML file.

    strips: as `write_report` has them.
    Raises InputError for a run without a complete seed, before anything is written.
    """
    write_text(file, report_page(runs, [draw_pictures(run) for run in runs], strips))


def write_frontier(frontier: Frontier, question: Question, folder: FrontierFolder) -> None:
    """Write the plot and the tables of a frontier.

    Raises InputError where a question has no answer, before anything is written.
    """
    _write_tables(frontier, question, folder)
    write_bytes(folder.plot, image(frontier_figure(frontier, question.target)))


def _write_tables(frontier: Frontier, question: Question, folder: FrontierFolder) -> None:
    """Write the tables of a frontier; raises InputError as `write_frontier` does."""
    write_text(folder.markdown, frontier_markdown(frontier, question))
    write_text(folder.csv, frontier_csv(frontier, question))
