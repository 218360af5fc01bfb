"""The command `watch`."""

import time
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from robust_tickets.cli.command import Command, command
from robust_tickets.recipe.schema import Range


@command
class Watch(Command):
    """Show how far a run is, again and again, while another process runs it."""

    run_directory: Positional[Path]
    """a run directory"""
    every: Annotated[float, Range(least=0.1)] = 5.0
    """seconds between two looks"""
    once: bool = False
    """look once"""

    def run(self) -> None:
        """Show the table until all arms of all seeds so far are done, or Ctrl-C."""
        from rich.console import Console
        from rich.live import Live

        from robust_tickets.report.watch import progress, watch_table
        from robust_tickets.runs.directory import RunDirectory

        run, console = RunDirectory.open(self.run_directory), Console()
        arms = progress(run)
        if self.once:
            console.print(watch_table(run, arms, console.width))
            return
        with Live(watch_table(run, arms, console.width), console=console, auto_refresh=False) as live:
            while any(one.state != "done" for one in arms):
                time.sleep(self.every)
                arms = progress(run)
                live.update(watch_table(run, arms, console.width), refresh=True)
        if not console.is_terminal:  # where the last table has no line break after it
            print()
