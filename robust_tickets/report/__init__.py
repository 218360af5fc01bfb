"""Tables and plots, made from run directories and nothing else."""

from robust_tickets.report.boosting_table import boosting_csv, boosting_markdown
from robust_tickets.report.latex import latex
from robust_tickets.report.plots import curves
from robust_tickets.report.read import lacking
from robust_tickets.report.tables import COLUMNS, markdown, timing
from robust_tickets.report.write import csv, write_report

__all__ = [
    "COLUMNS",
    "boosting_csv",
    "boosting_markdown",
    "csv",
    "curves",
    "lacking",
    "latex",
    "markdown",
    "timing",
    "write_report",
]
