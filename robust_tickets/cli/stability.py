"""The command `ticket stability`."""

from typing import Annotated

from tyro.conf import Positional, arg

from robust_tickets.base import signals
from robust_tickets.base.errors import InputError
from robust_tickets.cli.command import ByRecipe, Command, command
from robust_tickets.cli.input_file import InputFile
from robust_tickets.recipe.schema import Count, Range


@command
class TicketStability(ByRecipe, Command):
    """Train a ticket twice, with the data in another order, and measure the error between both results."""

    ticket: Annotated[Positional[InputFile | None], arg(metavar="PATH")] = None
    """a ticket.safetensors, or its address; trained for train.ticket_epochs with --seed and with the next
    one"""
    points: Annotated[int, Range(least=3, most=1000)] = 11
    """weights on the line that are evaluated, both ends included"""
    batches: Count = 20
    """training batches that the BatchNorm statistics of each point are estimated on"""

    def run(self) -> None:
        """Print the instability and the files."""
        if self.ticket is None:
            raise InputError("ticket stability needs to know which: give a ticket.safetensors")
        with signals.deferred():
            from robust_tickets.comparison.stability import measure_stability
            from robust_tickets.stages.experiment import Experiment

        experiment = Experiment(self.fields, machine=self.machine)
        result = measure_stability(
            experiment, self.seed, self.runs, self.ticket.path, points=self.points, batches=self.batches
        )
        print(result.text)
        print(result.table)
        print(result.figure)
