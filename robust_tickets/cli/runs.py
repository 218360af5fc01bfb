"""The commands `runs list` and `runs rm`."""

from pathlib import Path

from tyro.conf import Positional

from robust_tickets.cli.command import Command, command
from robust_tickets.runs import listing


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
