"""The command `train`."""

from typing import Annotated

from tyro.conf import arg

from robust_tickets.base import signals
from robust_tickets.cli.command import ByRecipe, Command, command
from robust_tickets.cli.input_file import InputFile


@command
class Train(ByRecipe, Command):
    """Train adversarially, dense or from a ticket. Writes best.safetensors and last.safetensors."""

    ticket: Annotated[InputFile | None, arg(metavar="FILE")] = None
    """a ticket.safetensors, or its address, to start from, trained for train.ticket_epochs (or
    ticket_budget); without it: dense, for train.epochs (or budget)"""

    def run(self) -> None:
        """Print the arm's folder."""
        with signals.deferred():
            from robust_tickets.comparison import compare
            from robust_tickets.stages.experiment import Experiment

        experiment = Experiment(self.fields, machine=self.machine)
        ticket = None if self.ticket is None else self.ticket.path
        print(compare.train_from(experiment, self.seed, self.runs, ticket))
