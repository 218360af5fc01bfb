"""What a pass of the network of an arm would cost, before the ticket is known."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from robust_tickets.comparison.timed_passes import training_pass_seconds
from robust_tickets.models import registry
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.norm_statistics import has_statistics
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.arm_training import training_of
from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.methods import used_settings
from robust_tickets.recipe.training_fields import Training
from robust_tickets.stages import costs
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.narrow_net import narrow_spec


class PassTimer:
    """Times trainings of the whole network, once those that take the same steps."""

    def __init__(self) -> None:
        self._rates: dict[tuple[object, ...], float] = {}

    def seconds(self, experiment: Experiment, training: Training, flops: int) -> float:
        """Seconds of a forward pass's worth of a training; flops: of a forward pass."""
        recipe, settings = experiment.recipe, tuple(used_settings(training).items())
        key = (recipe.model, recipe.compute, settings, training.batch, training.optimiser)
        if key not in self._rates:
            self._rates[key] = training_pass_seconds(experiment, training, flops)
        return self._rates[key]


@dataclass(frozen=True)
class EstimatedRates:
    """The rates of the network of an arm, as if the ticket had lost the same share of each layer.

    Seconds are those of the whole network for as many FLOPs.
    """

    timer: PassTimer
    experiment: Experiment
    arm: str

    @cached_property
    def flops(self) -> int:
        """FLOPs of a forward pass on one image."""
        return arm_flops(self.experiment, self.arm, whole_flops(self.experiment))

    @cached_property
    def pass_seconds(self) -> float:
        """Seconds of a forward pass's worth of the arm's training."""
        flops, training = whole_flops(self.experiment), training_of(self.experiment.recipe, self.arm)
        return self.timer.seconds(self.experiment, training, flops) * self.flops / flops

    @cached_property
    def statistics(self) -> bool:
        """Whether it has BatchNorm statistics."""
        return has_statistics(self.experiment.fresh_net(0))


def rates_of(experiment: Experiment) -> Callable[[str], EstimatedRates]:
    """Gives the rates of each arm of an experiment."""
    timer = PassTimer()
    return lambda arm: EstimatedRates(timer, experiment, arm)


def whole_flops(experiment: Experiment) -> int:
    """Forward FLOPs of the whole network."""
    return forward_flops(experiment.fresh_net(0), experiment.spec.shape)


def arm_flops(experiment: Experiment, arm: str, flops: int) -> int:
    """Forward FLOPs of an arm's network, as if the ticket had lost the same share of each layer.

    flops: those of the whole network.
    """
    search, network = experiment.recipe.search, ARMS[arm].network
    if network == "ticket":
        return round(flops * costs.pass_share(search, search.rounds))
    if network in ("whole", "random"):
        return flops
    spec = experiment.model_spec
    density = (1 - search.ratio) ** (search.rounds * (2 if search.granularity == "channel" else 1))
    weights = Mask.full(experiment.fresh_net(0)).size
    targets = {"flops": max(1, round(density * flops)), "weights": max(1, round(density * weights))}
    narrow = narrow_spec(spec, ARMS[arm].match, **targets)
    return forward_flops(registry.build(narrow, seed=0), spec.shape)
