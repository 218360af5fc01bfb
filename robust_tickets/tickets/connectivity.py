"""Whether a path of kept weights leads through a pruned network."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robust_tickets.attacks.float64 import float64_device
from robust_tickets.base.errors import InputError
from robust_tickets.models.fold import copy_net
from robust_tickets.pruning.layers import Shape, observe_layers, prunable_weights
from robust_tickets.pruning.mask import Mask


@torch.no_grad()
def check_paths(net: nn.Module, mask: Mask, shape: Shape) -> None:
    """Raise InputError where no path of kept weights leads from an image (C, H, W) to a logit.

    A network may be cut in two although every layer has weights left. It is tested on a copy whose kept
    weights are positive and whose biases are zero, so that nothing cancels or is rectified away: there two
    images give the same logits only where no path leads.
    """
    twin = _positive_copy(net, mask)
    like = next(twin.parameters())
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand((1, *shape), generator=generator, dtype=torch.float64) + shift for shift in (0, 2)]
    logits, outputs = zip(*(_layer_outputs(twin, image.to(like.device)) for image in images), strict=True)
    if not torch.equal(*logits):
        return
    calls = [(name, torch.equal(one, outputs[1][i][1])) for i, (name, one) in enumerate(outputs[0])]
    dead = len(calls) - 1
    while dead > 0 and calls[dead - 1][1]:
        dead -= 1
    name = calls[dead][0]
    raise InputError(
        f"no path leads through the pruned network: the weights left in {name} (density "
        f"{float(mask[name].double().mean()):.2g}) read nothing that is left before them; lower search.ratio "
        "or search.rounds, or leave the layer out by search.ignored_layers"
    )


def _positive_copy(net: nn.Module, mask: Mask) -> nn.Module:
    """A copy in float64 with random positive weights where the mask keeps them."""
    twin = copy_net(net).to(float64_device(next(net.parameters()).device)).double().eval()
    weights = prunable_weights(twin)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in twin.named_parameters():
        if name in weights:
            entries = mask[name].double()
            values = 0.5 + torch.rand(entries.shape, generator=generator, dtype=torch.float64)
            # sums of about one, so that nothing overflows however deep the network is
            counts = entries.flatten(1).sum(1).clamp(min=1).reshape(-1, *[1] * (entries.ndim - 1))
            parameter.copy_(values * entries / counts)
        elif name.endswith("bias"):
            parameter.zero_()
        elif parameter.ndim == 1:
            parameter.fill_(1.0)  # norms
    for module in twin.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
    return twin


def _layer_outputs(net: nn.Module, image: Tensor) -> tuple[Tensor, list[tuple[str, Tensor]]]:
    """The logits of an image, and the output of each prunable layer, in the order of their calls."""
    outputs: list[tuple[str, Tensor]] = []
    with observe_layers(net, lambda name, layer, output: outputs.append((name, output.clone()))):
        return net(image), outputs
