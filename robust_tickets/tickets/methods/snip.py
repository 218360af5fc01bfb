"""SNIP: prunes the weights that matter least to the loss of one batch, before any training."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from robust_tickets.base.lazy import torch
from robust_tickets.base.ledger import Passes
from robust_tickets.base.random_streams import step_seed, use_seed
from robust_tickets.recipe.methods import make_method
from robust_tickets.tickets.methods.base import PruningAtInit, SearchPlan, SearchTask
from robust_tickets.training.methods.base import Networks, Step

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robust_tickets.pruning.mask import Mask
    from robust_tickets.tickets.pruning_step import PruningStep


class SNIP(PruningAtInit):
    """Connection sensitivity |w dL/dw| on the first batch, without training.

    Lee et al. 2019, "SNIP: Single-shot Network Pruning based on Connection Sensitivity". The batch is the one
    that a training of the seed would take first, augmented, attacked and with units dropped as there, and L
    is the training method's loss.
    """

    unused: ClassVar[Mapping[str, str]] = {
        **PruningAtInit.unused,
        "criterion": "which has a score of its own",
    }

    def mask(self, task: SearchTask, step: "PruningStep") -> "Mask":
        from robust_tickets.models.flops import forward_flops
        from robust_tickets.models.fold import fold
        from robust_tickets.pruning.mask import Mask
        from robust_tickets.training.training_batches import training_batches

        net, config, ledger = task.net, task.config, task.session.ledger
        flops = forward_flops(net, task.data.spec.shape)
        batch = next(training_batches(task.data, replace(config, steps=1), epoch=1, step=0))
        method, folded = make_method(self.search), fold(net, task.data.spec.shape)
        method.prepare(task.data)
        with ledger.phase("attack"):
            adversarial = method.perturb(Networks(net, folded), batch)
        cost = method.passes_taken(len(batch.images), batch.step)
        ledger.count("attack", cost.attack, flops)
        with ledger.phase("prune"):
            with use_seed(step_seed(config.seed, 0)):
                scores = sensitivity(
                    net, lambda twin: method.loss(Networks(twin, folded), batch, adversarial)
                )
            mask = step.prune(scores, Mask.full(net))
        ledger.count("prune", cost.update, flops)
        return mask

    def passes(self, plan: SearchPlan, classes: int) -> Passes:
        return make_method(self.search).passes(self.search.batch, Step(0, 1, classes)).whole


def sensitivity(net: "nn.Module", loss: "Callable[[nn.Module], Tensor]") -> "dict[str, Tensor]":
    """The connection sensitivity of each prunable weight, by parameter name.

    net: the network, which is left as it was.
    loss: the loss L of a copy of the network on one batch, a scalar with a graph to its weights.

    |dL/dc| at c = 1, where c multiplies the weight; that is |w dL/dw| (Lee et al. 2019, equations 5 and 6,
    without the division by their sum, which changes no order). In train mode, as the weights are about to be
    trained.
    """
    from robust_tickets.models.copy_net import copy_net
    from robust_tickets.models.modes import train_mode
    from robust_tickets.pruning.layers import prunable_weights

    twin = train_mode(copy_net(net))
    for parameter in twin.parameters():
        parameter.requires_grad_(True)
    weights = prunable_weights(twin)
    gradients = torch.autograd.grad(loss(twin), list(weights.values()), allow_unused=True)
    return {
        name: torch.zeros(weight.shape) if gradient is None else (weight * gradient).detach().abs().cpu()
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }
