"""Parameters that a network uses besides the call of the layer that they are named by."""

from collections import Counter

from torch import nn

from robust_tickets.attacks.network import set_mode
from robust_tickets.base.device_errors import is_device_error
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.trial_pass import Shape, leaf_uses, trial_images


def shared_parameters(net: nn.Module, shape: Shape) -> frozenset[str]:
    """Names of trainable parameters that belong to several layers, or that the forward reads by itself too.

    They are live where one of their layers has a dead filter, so nothing of them may be held at zero. Reads
    are counted in the graph of a pass of images (C, H, W): more than the layer has calls are others'.
    """
    owners = Counter(id(p) for module in net.modules() for p in module._parameters.values() if p is not None)
    shared = {name for name, p in net.named_parameters() if owners[id(p)] > 1}
    twin = set_mode(copy_net(net), False)
    parameters = {name: p for name, p in twin.named_parameters() if p.requires_grad}
    calls: Counter[int] = Counter()

    def count(layer: nn.Module, args: object) -> None:
        calls[id(layer)] += 1

    hooks = [layer.register_forward_pre_hook(count) for layer in twin.modules()]
    try:
        uses = leaf_uses(twin, trial_images(twin, shape))
    except Exception as error:  # the network's own code fails as it likes
        if is_device_error(error):
            raise
        return frozenset(shared)
    finally:
        for hook in hooks:
            hook.remove()
    for name, parameter in parameters.items():
        # layers of scripts have no hooks: one call at least
        if uses[id(parameter)] > max(1, calls[id(twin.get_submodule(name.rpartition(".")[0]))]):
            shared.add(name)
    return frozenset(shared)
