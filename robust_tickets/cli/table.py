"""The command `table`."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from robust_tickets.base.errors import InputError
from robust_tickets.cli.command import Command, command


@command
class Table(Command):
    """Make the table of one or several comparisons, or the verdict of a study, again from the files."""

    path: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN...")]
    """a run directory, or several, whose arms come one below the other; or a study's folder"""
    format: Literal["csv", "markdown", "latex", "html"] = "markdown"
    """csv: fractions and seconds; markdown, latex (needs the package booktabs) and html: percent, and what
    the table supports under it"""
    about: Literal["timing", "boosting"] = "timing"
    """timing: what each arm cost and kept; boosting: its early advantage (csv and markdown)"""
    published: tuple[str, ...] | None = None
    """rows of figures that were published elsewhere, marked as such, like 'Rice et al. 2020: clean 85.3, aa
    53.4'"""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """file to write; without it: standard output"""

    def run(self) -> None:
        """Print the table, or write it."""
        from robust_tickets.runs import files

        text = self._study() if (self.path[0] / "study.toml").is_file() else self._comparison()
        if self.out is None:
            print(text, end="")
        else:
            files.write_text(self.out, text)
            print(self.out)

    def _study(self) -> str:
        from robust_tickets.studies.study_files import read_study

        if len(self.path) > 1 or self.published or self.about == "boosting":
            raise InputError(
                f"{self.path[0]} is a study: give it alone, without --published and --about boosting"
            )
        if self.format not in ("csv", "markdown"):
            raise InputError("a study comes as csv or markdown: choose one of them by --format")
        table, verdict = read_study(self.path[0])
        return table if self.format == "csv" else verdict

    def _comparison(self) -> str:
        from robust_tickets.report import boosting_table, timing_text
        from robust_tickets.runs.directory import RunDirectory

        published = [timing_text.Published.parse(text) for text in self.published or ()]
        runs = [RunDirectory.open(path) for path in self.path]
        if self.about == "boosting":
            if self.format not in ("csv", "markdown") or len(runs) > 1 or published:
                raise InputError(
                    "--about boosting comes as csv or markdown, for one run, without --published: choose so"
                )
            writers = {"csv": boosting_table.boosting_csv, "markdown": boosting_table.boosting_markdown}
            return writers[self.format](runs[0])
        if self.format == "csv":
            if published:
                raise InputError(
                    "csv has measured rows alone: leave --published out, or choose another --format"
                )
            return timing_text.csv(*runs)
        return timing_text.FORMATS[self.format](timing_text.timing_document(runs, published))
