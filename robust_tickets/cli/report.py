"""The command `report`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from robust_tickets.base.errors import InputError
from robust_tickets.cli.command import Command, command


@command
class Report(Command):
    """Write the report of comparisons as one HTML page, from their files.

    The page needs no network and no other file. The tables and pictures beside it are written again.
    """

    run_paths: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN...")]
    """run directories of compare; of several, the page alone is written"""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """file of the page; needed for several runs; of one run without it: report.html in the run directory,
    whose tables and pictures are written again"""
    png: bool = False
    """write the pictures as PNG files too, into the run directories"""
    images: Annotated[Path | None, arg(metavar="DIR")] = None
    """folder of evaluate --save-images, whose strips of adversarial images the page shows"""

    def run(self) -> None:
        """Print the files that were written."""
        from robust_tickets.report.page.strips import find_strips
        from robust_tickets.report.write import write_page, write_pictures, write_report
        from robust_tickets.runs.directory import RunDirectory

        if self.out is not None and self.out.suffix.lower() not in (".html", ".htm"):
            raise InputError(f"--out {self.out} is no name of a web page: end it in .html")
        runs = [RunDirectory.open(path) for path in self.run_paths]
        strips = find_strips(self.images) if self.images is not None else []
        if self.out is not None:
            write_page(runs, self.out, strips)
        elif len(runs) == 1:
            write_report(runs[0], strips)
        else:
            raise InputError("a report of several runs lies in none of them: name its file by --out FILE")
        for run in runs if self.png else []:
            print(*write_pictures(run, "png"), sep="\n")
        print(self.out or runs[0].page)
