"""The command `compare`."""

from robust_tickets.base import signals
from robust_tickets.cli.command import Command, SideBySide, command


@command
class Compare(SideBySide, Command):
    """Run all arms of a recipe and compare them. Writes tables (csv, md), pictures, and report.html."""

    def run(self) -> None:
        """Print the table and the run directory, or the estimate."""
        with signals.deferred():
            from robust_tickets.comparison import compare
            from robust_tickets.comparison.estimate import estimate
            from robust_tickets.report.terminal import summary
            from robust_tickets.stages.experiment import Experiment

        experiment, executor = Experiment(self.fields, machine=self.machine), self.choose_executor()
        if self.dry_run:
            print(estimate(experiment, self.seeds, executor.jobs))
            return
        seeds = range(self.seed, self.seed + self.seeds)
        run = compare.compare(experiment, seeds, self.runs, executor)
        if self.verbose:
            print(run.timing_markdown.read_text(encoding="utf-8"))
        if not self.quiet:
            print(summary(run), end="\n\n")
        print(run.path)
