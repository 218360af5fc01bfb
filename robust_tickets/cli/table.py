"""The command `table`."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from robust_tickets.base.errors import InputError
from robust_tickets.cli.command import Command, command


@command
class Table(Command):
    """Make the table of a comparison, or the verdict of a study, again from its files."""

    path: Positional[Path]
    """a run directory, or a study's folder"""
    format: Literal["csv", "markdown", "latex"] = "markdown"
    """csv: fractions and seconds; markdown: percent, and the sentence that the table supports; latex: the
    timing table for a paper (needs the package booktabs)"""
    about: Literal["timing", "boosting"] = "timing"
    """timing: what each arm cost and kept; boosting: its early advantage (csv and markdown)"""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """file to write; without it: standard output"""

    def run(self) -> None:
        """Print the table, or write it."""
        from robust_tickets.runs import files

        text = self._study() if (self.path / "study.toml").is_file() else self._comparison()
        if self.out is None:
            print(text, end="")
        else:
            files.write_text(self.out, text)
            print(self.out)

    def _study(self) -> str:
        from robust_tickets.studies.study_files import read_study

        if self.about == "boosting":
            raise InputError(
                f"--about boosting is for a run directory, and {self.path} is a study: leave it out"
            )
        if self.format == "latex":
            raise InputError("a study comes as csv or markdown: choose one of them by --format")
        table, verdict = read_study(self.path)
        return table if self.format == "csv" else verdict

    def _comparison(self) -> str:
        from robust_tickets.report import boosting_table, latex, tables, write
        from robust_tickets.runs.directory import RunDirectory

        run = RunDirectory.open(self.path)
        if self.about == "boosting":
            if self.format == "latex":
                raise InputError("--about boosting comes as csv or markdown: choose one of them by --format")
            writers = {"csv": boosting_table.boosting_csv, "markdown": boosting_table.boosting_markdown}
        else:
            writers = {"csv": write.csv, "markdown": tables.markdown, "latex": latex.latex}
        return writers[self.format](run)
