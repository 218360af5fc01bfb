"""The commands on run directories: list, merge, rm."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from robust_tickets.base.errors import InputError
from robust_tickets.cli.command import Command, command
from robust_tickets.runs import listing, merging


@command
class RunsList(Command):
    """List run directories: recipe, seeds, finished arms, size."""

    runs: Path = Path("runs")
    """folder of the run directories"""

    def run(self) -> None:
        """Print a line a run directory."""
        print(listing.list_runs(self.runs))


@command
class RunsRm(Command):
    """Remove a run directory with all its results."""

    path: Positional[Path]
    """a run directory"""
    yes: bool = False
    """really remove it; without it, only what would be removed is printed"""

    def run(self) -> None:
        """Print what was removed."""
        print(listing.remove(self.path, self.yes))


@command
class RunsMerge(Command):
    """Put seeds that were run elsewhere into a run directory of the same recipe, and write its tables.

    The others stay as they are.
    """

    paths: Positional[Annotated[tuple[Path, ...], arg(metavar="RUN...")]] = ()
    """the run directory that takes the seeds, then those that have them"""

    def run(self) -> None:
        """Print a line a seed, and the run directory."""
        if len(self.paths) < 2:
            raise InputError(
                "runs merge needs two run directories at least: the one that takes seeds comes first"
            )
        target, *sources = self.paths
        for line in merging.merge(target, sources):
            print(line)
        from robust_tickets.report.read import complete_seeds
        from robust_tickets.report.write import write_report
        from robust_tickets.runs.directory import RunDirectory

        run = RunDirectory.open(target)
        if complete_seeds(run):
            write_report(run)
        print(target)
