"""What a pass of the network of an arm costs."""

from dataclasses import dataclass
from functools import cached_property

from robust_tickets.models.flops import forward_flops
from robust_tickets.models.norm_statistics import has_statistics
from robust_tickets.recipe.training_fields import Training
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.timed_training import own_pass_seconds
from robust_tickets.tickets.starting_net import starting_net
from robust_tickets.tickets.ticket import Ticket


@dataclass(frozen=True)
class ArmRates:
    """The rates of the network that is trained.

    experiment: has its architecture.
    training: its settings.
    ticket: it starts from that, without its dead channels; None: it is whole.
    """

    experiment: Experiment
    training: Training
    ticket: Ticket | None = None

    @cached_property
    def flops(self) -> int:
        """FLOPs of a forward pass on one image."""
        experiment = self.experiment
        shape, compute = experiment.spec.shape, experiment.recipe.compute
        return forward_flops(starting_net(experiment.fresh_net(0), self.ticket, shape, compute).net, shape)

    @cached_property
    def pass_seconds(self) -> float:
        """Seconds of a forward pass's worth of the training, timed when they are first asked for."""
        return own_pass_seconds(self.experiment, self.training, self.ticket)

    @cached_property
    def statistics(self) -> bool:
        """Whether it has BatchNorm statistics."""
        return has_statistics(self.experiment.fresh_net(0))
