"""Masks of a net that was never trained."""

from dataclasses import replace

from torch import nn

from robust_tickets.base.ledger import Ledger
from robust_tickets.base.random_streams import step_seed, use_seed
from robust_tickets.data.dataset import Dataset
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.fold import fold
from robust_tickets.pruning.criteria import spared_layers
from robust_tickets.pruning.densities import random_mask
from robust_tickets.pruning.layer_roles import layer_roles
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.fields import Search
from robust_tickets.recipe.methods import make_method
from robust_tickets.tickets.pruning_step import PruningStep
from robust_tickets.tickets.snip import snip
from robust_tickets.training.config import TrainingConfig
from robust_tickets.training.methods.base import Networks
from robust_tickets.training.training_batches import training_batches


def mask_at_init(
    net: nn.Module, data: Dataset, search: Search, config: TrainingConfig, cut: PruningStep, ledger: Ledger
) -> Mask:
    """The mask that `search.pruning_method` snip or random gives, at the share `search.ratio` of the weights.

    SNIP looks at the first batch that a training of the seed would begin with, augmented, attacked and with
    units dropped as there; `search.scope` says over which layers its scores are compared. Raises InputError
    as `prune` and `random_mask` do.
    """
    full = Mask.full(net)
    if search.pruning_method == "random":
        with ledger.phase("prune"):
            spare = spared_layers(search, full, layer_roles(net, data.spec.shape))
            return random_mask(full, search.ratio, search.densities, config.seed, spare)
    flops = forward_flops(net, data.spec.shape)
    batch = next(training_batches(data, replace(config, steps=1), epoch=1, step=0))
    method, folded = make_method(search), fold(net)
    cost = method.passes(len(batch.images))
    with ledger.phase("attack"):
        adversarial = method.perturb(Networks(net, folded), batch)
    ledger.count("attack", cost.attack, flops)
    with ledger.phase("prune"):
        with use_seed(step_seed(config.seed, 0)):
            scores = snip(net, lambda twin: method.loss(Networks(twin, folded), batch, adversarial))
        mask = cut(scores, full)
    ledger.count("prune", cost.update, flops)
    return mask
