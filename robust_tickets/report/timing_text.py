"""The timing table of one or several runs as text: CSV, Markdown, LaTeX or HTML."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from robust_tickets.base.errors import InputError
from robust_tickets.report import document as documents
from robust_tickets.report.chance import chance_note
from robust_tickets.report.contrasts import contrasts_note
from robust_tickets.report.document import Document
from robust_tickets.report.notes import accuracy_note, channels_note, cost_note, settings_note, tuning_note
from robust_tickets.report.read import complete_seeds, heading, left_out_note, results
from robust_tickets.report.reuse import reuse_note
from robust_tickets.report.table_cells import titled_cells
from robust_tickets.report.tables import timing
from robust_tickets.report.trust import sanity_note, warnings_note
from robust_tickets.report.verdict import verdict
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import csv_text

_COLUMNS = {
    "epochs": "epochs",
    "kept": "weights kept",
    "clean": "clean %",
    "pgd-20": "PGD-20 %",
    "aa": "AA",
    "seconds": "seconds / dense",
    "flops": "FLOPs / dense",
}
"""Figures that may be published, and the beginning of the column that each stands in."""

_FIGURE = re.compile(r"([a-z0-9-]+) +((\d+(?:\.\d+)?)(?: *± *[\d.]+)?%?)")


@dataclass(frozen=True)
class Published:
    """A row of figures that somebody else has published.

    name: of the method and the paper.
    figures: texts by the names in _COLUMNS.
    """

    name: str
    figures: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> "Published":
        """Read `NAME: FIGURE VALUE, FIGURE VALUE`. Raises InputError for anything else."""
        name, _, rest = text.rpartition(":")
        figures = {}
        for part in rest.split(","):
            match = _FIGURE.fullmatch(part.strip())
            if not name.strip() or match is None or match[1] not in _COLUMNS:
                raise InputError(
                    f"--published {text!r:.80} is not like 'Rice et al. 2020: clean 85.3, aa 53.4': a "
                    f"name, a colon, and figures, of {', '.join(_COLUMNS)}"
                )
            if float(match[3]) > 100:
                raise InputError(f"--published {text!r:.80}: {match[1]} {match[2]} is more than 100 %")
            figures[match[1]] = match[2]
        return cls(name.strip(), figures)

    def cells(self, titles: Sequence[str]) -> list[str]:
        """Its row under these titles. Raises InputError for a figure whose column is not there."""
        cells = ["-"] * len(titles)
        cells[titles.index("arm")] = f"{self.name} *"
        for figure, value in self.figures.items():
            places = [i for i, title in enumerate(titles) if title.startswith(_COLUMNS[figure])]
            if not places:
                raise InputError(
                    f"--published {self.name}: this table has no column for {figure}: leave it out"
                )
            cells[places[0]] = value
        return cells


def table(runs: Sequence[RunDirectory]) -> pd.DataFrame:
    """The timing table (`tables.timing`); of several runs with a first column `run`, one below the other."""
    if len(runs) == 1:
        return timing(runs[0])
    tables = []
    for run, label in zip(runs, _labels(runs), strict=True):
        rows = timing(run)
        rows.insert(0, "run", label)
        tables.append(rows)
    return pd.concat(tables, ignore_index=True)


def csv(*runs: RunDirectory) -> str:
    """The timing table as CSV: fractions and seconds."""
    return csv_text(table(runs), 6)


def markdown(*runs: RunDirectory) -> str:
    """The timing table as Markdown, and the text under it."""
    return documents.markdown(timing_document(runs))


def latex(*runs: RunDirectory) -> str:
    """The same for a paper."""
    return documents.latex(timing_document(runs))


FORMATS: dict[str, Callable[[Document], str]] = {
    "markdown": documents.markdown,
    "latex": documents.latex,
    "html": documents.html,
}
"""How a document is written, by the name of the format."""


def timing_document(runs: Sequence[RunDirectory], published: Sequence[Published] = ()) -> Document:
    """The timing table of one or several runs for people, an arm a row; published rows come last.

    Each run is compared with its own dense arm. Raises InputError if no seed of a run is complete.
    """
    if len(runs) == 1:
        run, tables = runs[0], [timing(runs[0])]
        titles, rows = titled_cells(tables[0])
        title, notes = heading(run), paragraphs(run, tables[0])
    else:
        labels, tables = _labels(runs), [timing(run) for run in runs]
        cells = [titled_cells(rows) for rows in tables]
        titles = ["run", *dict.fromkeys(title for run_titles, _ in cells for title in run_titles)]
        rows = [
            [{"run": label, **dict(zip(run_titles, row, strict=True))}.get(title, "-") for title in titles]
            for label, (run_titles, run_rows) in zip(labels, cells, strict=True)
            for row in run_rows
        ]
        headings = [heading(run) for run in runs]
        same = len(set(headings)) == 1
        title = headings[0] if same else f"Runs {', '.join(labels)}, each beside its own dense"
        notes = [
            " ".join([f"**{label}**:", *([] if same else [f"{about}."]), *paragraphs(run, rows_of_run)])
            for run, label, about, rows_of_run in zip(runs, labels, headings, tables, strict=True)
        ]
    if published:
        rows = [*rows, *(each.cells(titles) for each in published)]
        names = ", ".join(each.name for each in published)
        notes = [
            *notes,
            f"Rows with *: published, not measured here ({names}). Data, network, attacks and machine may be "
            "others.",
        ]
    seeds = "-".join(map(str, complete_seeds(runs[0])))
    return Document(title, f"{runs[0].recipe.name}-{seeds}", titles, rows, notes)


def paragraphs(run: RunDirectory, rows: pd.DataFrame) -> list[str]:
    """The text under a run's table: what it supports, then what a reader must know of the figures."""
    texts = (
        verdict(results(run), run.recipe, len(run.machines())),
        contrasts_note(results(run), run.recipe),
        reuse_note(results(run), run.recipe),
        settings_note(run),
        tuning_note(run),
        channels_note(run, rows),
        chance_note(results(run), run.recipe),
        warnings_note(run),
        sanity_note(run),
        left_out_note(run),
        accuracy_note(run, rows),
        cost_note(run, rows),
    )
    return [text for text in texts if text]


def _labels(runs: Sequence[RunDirectory]) -> list[str]:
    """A name for each run: of its recipe, or of its folder, or its path, the first that is its own."""
    paths = [run.path.resolve() for run in runs]
    doubles = [path for path, n in Counter(paths).items() if n > 1]
    if doubles:
        raise InputError(f"{doubles[0]} is given twice: give each run once")
    for names in ([run.recipe.name for run in runs], [path.name for path in paths]):
        if len(set(names)) == len(names):
            return names
    return [str(run.path) for run in runs]
