"""The report of a run directory, written into it; and a frontier, written into any folder."""

from robust_tickets.report.boosting_table import boosting_csv, boosting_markdown
from robust_tickets.report.candidates import Frontier
from robust_tickets.report.frontier_answers import Question
from robust_tickets.report.frontier_plot import frontier_plot
from robust_tickets.report.frontier_runs import read_frontier
from robust_tickets.report.frontier_table import frontier_csv, frontier_markdown
from robust_tickets.report.plots import curves
from robust_tickets.report.timing_text import csv, markdown
from robust_tickets.runs.arm_directory import FrontierFolder
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import write, write_text


def write_report(run: RunDirectory) -> None:
    """Write timing.csv, timing.md, boosting.csv, boosting.md, curves.svg, and the frontier's three files.

    Raises InputError if no seed is complete.
    """
    write_text(run.timing_csv, csv(run))
    write_text(run.timing_markdown, markdown(run))
    write_text(run.boosting_csv, boosting_csv(run))
    write_text(run.boosting_markdown, boosting_markdown(run))
    write(run.curves, lambda part: curves(run, part))
    write_frontier(read_frontier([run]), Question(), FrontierFolder(run.path))


def write_frontier(frontier: Frontier, question: Question, folder: FrontierFolder) -> None:
    """Write the plot and the tables of a frontier.

    Raises InputError where a question has no answer, before anything is written.
    """
    write_text(folder.markdown, frontier_markdown(frontier, question))
    write_text(folder.csv, frontier_csv(frontier, question))
    write(folder.plot, lambda part: frontier_plot(frontier, part, question.target))
