"""The report of a run directory, written into it."""

from robust_tickets.report.boosting_table import boosting_csv, boosting_markdown
from robust_tickets.report.plots import curves
from robust_tickets.report.tables import markdown, timing
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import csv_text, write, write_text


def write_report(run: RunDirectory) -> None:
    """Write timing.csv, timing.md, boosting.csv, boosting.md and curves.svg.

    Raises InputError if no seed is complete.
    """
    write_text(run.timing_csv, csv(run))
    write_text(run.timing_markdown, markdown(run))
    write_text(run.boosting_csv, boosting_csv(run))
    write_text(run.boosting_markdown, boosting_markdown(run))
    write(run.curves, lambda part: curves(run, part))


def csv(run: RunDirectory) -> str:
    """The timing table as CSV: fractions and seconds."""
    return csv_text(timing(run), 6)
