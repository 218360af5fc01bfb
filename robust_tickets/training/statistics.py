"""BatchNorm statistics of weights that were not trained with them, estimated on training images."""

from dataclasses import replace

from torch import nn

from robust_tickets.base.ledger import Ledger, Passes
from robust_tickets.data.dataset import Dataset
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.fold import fold
from robust_tickets.models.modes import train_mode
from robust_tickets.models.norm_statistics import moving_batchnorms, pass_through
from robust_tickets.recipe.methods import make_method
from robust_tickets.training.config import TrainingConfig
from robust_tickets.training.methods.base import Networks
from robust_tickets.training.training_batches import training_batches


def estimate_statistics(
    net: nn.Module, data: Dataset, config: TrainingConfig, batches: int, ledger: Ledger
) -> None:
    """Make a network's BatchNorm statistics those of training batches, attacked as its training would.

    config: of the training; batches: the first ones of its first epoch, at most an epoch's.
    ledger: takes the cost.

    The attack sees the network in eval mode, so statistics of the images as they are come first.
    """
    if not moving_batchnorms(train_mode(net)):
        return
    method, flops = make_method(config.settings), forward_flops(net, data.spec.shape)
    method.prepare(data)
    with ledger.phase("data"):
        kept = list(training_batches(data, replace(config, steps=batches), epoch=1, step=0))
    with ledger.phase("update"):
        pass_through(net, [batch.images for batch in kept], config.seed)
    nets = Networks(net, fold(net, data.spec.shape))
    with ledger.phase("attack"):
        attacked = [method.perturb(nets, batch) for batch in kept]
    with ledger.phase("update"):
        pass_through(net, attacked, config.seed)
    for batch in kept:
        samples = len(batch.images)
        ledger.count("attack", method.passes_taken(samples, batch.step).attack, flops)
        ledger.count("update", Passes(forward=2 * samples), flops)
