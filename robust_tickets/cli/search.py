"""The command `search`."""

from robust_tickets.base import signals
from robust_tickets.cli.command import ByRecipe, Command, command


@command
class Search(ByRecipe, Command):
    """Find a boosting ticket: adversarial training, pruning and rewinding. Writes ticket.safetensors."""

    def run(self) -> None:
        """Print the ticket's file."""
        with signals.deferred():  # an import that a signal breaks off fails in odd ways
            from robust_tickets.comparison import compare
            from robust_tickets.stages.experiment import Experiment

        experiment = Experiment(self.fields, machine=self.machine)
        ticket = compare.search(experiment, self.seed, self.runs)
        experiment.log("is it a winning ticket? compare tells, with the arms dense, ticket and ticket-reinit")
        print(ticket)
