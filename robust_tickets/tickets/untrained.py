"""Masks of a net that was never trained."""

from dataclasses import replace

from torch import nn

from robust_tickets.base.ledger import Ledger, Passes
from robust_tickets.base.random_streams import epoch_seed, step_seed, use_seed
from robust_tickets.data.batches import batches
from robust_tickets.data.dataset import Dataset
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.fold import fold
from robust_tickets.pruning.criteria import spared_layers
from robust_tickets.pruning.densities import random_mask
from robust_tickets.pruning.layer_roles import layer_roles
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.fields import Search
from robust_tickets.tickets.pruning_step import PruningStep
from robust_tickets.tickets.snip import snip
from robust_tickets.training.loop import TrainingConfig
from robust_tickets.training.methods import UPDATE_PASSES, training_attack


def mask_at_init(
    net: nn.Module, data: Dataset, search: Search, how: TrainingConfig, cut: PruningStep, ledger: Ledger
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
            return random_mask(full, search.ratio, search.densities, how.seed, spare)
    spec = data.spec if search.augment else replace(data.spec, crop_padding=0, flip=False)
    flops = forward_flops(net, spec.shape)
    stream = batches(
        data.train, spec, search.batch, seed=how.seed, epoch=1, channels_last=how.compute.channels_last
    )
    images, labels, ids = next(stream)
    attack = training_attack(search, how.threat)
    if attack is not None:
        with ledger.phase("attack"):
            start = epoch_seed(how.seed, 1)
            result = attack.run(fold(net), images, labels, sample_ids=ids, seed=start, verdict=False)
            images = result.images
        ledger.count("attack", Passes(result.forwards, result.backwards), flops)
    with ledger.phase("prune"):
        with use_seed(step_seed(how.seed, 0)):
            scores = snip(net, images, labels)
        mask = cut(scores, full)
    ledger.count("prune", UPDATE_PASSES.times(len(images)), flops)
    return mask
