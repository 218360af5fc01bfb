"""What a training takes in seconds on this machine, from some of its own steps."""

from dataclasses import replace

from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.base.progress import Progress, StageProgress
from robust_tickets.data.dataset import Dataset
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.training_fields import Training
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.starting_net import starting_net
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.config import Session
from robust_tickets.training.loop import fit

_SECONDS = 3.0  # that are timed
_MOST_STEPS = 50  # where steps are so fast that they take less


def first_steps(device: str) -> int:
    """How many steps are a first try."""
    return 3 if device == "cpu" else 30  # on a GPU three would be over in some 50 ms


def own_pass_seconds(experiment: Experiment, training: Training, ticket: Ticket | None) -> float:
    """Seconds of a forward pass's worth of a training: of data, attack and update.

    From whole steps on the training images, of the network that is trained, after some that warm up. The time
    that this takes is charged to nobody.

    ticket: that the network starts from; None: it is whole.
    """
    experiment.prepare()
    experiment.check_batch(experiment.fresh_net(0), training, "train.batch")
    dataset, steps = experiment.load(), first_steps(experiment.machine.device)
    one_image = replace(dataset, val=dataset.val.first(1), test=dataset.test.first(1))
    first = steps_ledger(experiment, training, ticket, one_image, steps).step_seconds / steps
    steps = max(steps, min(_MOST_STEPS, int(_SECONDS / first)))
    ledger = steps_ledger(experiment, training, ticket, one_image, steps)
    if ledger.load.warning:
        text = f"steps were timed to fix a length by: {ledger.load.warning}"
        experiment.machine.progress.warn(text)
    # as the ledger has them: a plan may be more than the steps have taken
    return ledger.step_seconds / sum(ledger.passes[phase].cost for phase in ("attack", "update"))


def steps_ledger(
    experiment: Experiment, training: Training, ticket: Ticket | None, data: Dataset, steps: int
) -> Ledger:
    """The ledger of some steps of a training, in which the network is validated too."""
    start = starting_net(experiment.fresh_net(0), ticket, experiment.spec.shape, experiment.recipe.compute)
    mask = start.mask
    if mask is None and make_method(training).moves_mask:  # in an estimate, which knows no mask yet
        mask = Mask.full(start.net)
    ledger, meter = (
        Ledger("train", clock_for(experiment.machine.device)),
        _Warnings(experiment.machine.progress),
    )
    with ledger.measure():
        session = Session(ledger, meter, group=experiment.machine.process_group())
        fit(start.net, mask, data, experiment.config(training, steps, 0), session)
    return ledger


class _Warnings(StageProgress):
    """Shows warnings alone: each is shown once in a process, so that the training would not repeat it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def warn(self, text: str) -> None:
        self._progress.warn(text)
