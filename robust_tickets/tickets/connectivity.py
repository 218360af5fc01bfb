"""Whether a path of kept weights leads through a pruned network."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robust_tickets.base.device_errors import is_device_error
from robust_tickets.base.errors import InputError
from robust_tickets.models.probe import probe_copy, probe_images
from robust_tickets.pruning.layers import Shape, observe_layers, prunable_weights
from robust_tickets.pruning.mask import Mask

_GAINS = (1.0, 0.1)
_RANGES = (((0.0, 1.0), (2.0, 3.0)), ((0.0, 0.3), (0.7, 1.0)), ((-3.0, -2.0), (-1.0, 0.0)))
"""Probes: sums of weights, and pixels of two images. What saturates at one does not at another."""


def check_paths(net: nn.Module, mask: Mask, shape: Shape) -> None:
    """Raise InputError where no path of kept weights leads from an image (C, H, W) to a logit.

    A network may be cut in two although every layer has weights left. It is tested on copies whose kept
    weights are positive and whose biases are zero, so that nothing cancels or is rectified away: there two
    images give the same logits only where no path leads, or where activations saturate, which other weights
    and images avoid. A network in which probes find no path though nothing is pruned is not judged.
    """
    mask = mask.support
    name = _cut_layer(net, mask, shape)
    if name is None or _cut_layer(net, Mask.full(net), shape) is not None:
        return
    raise InputError(
        f"no path leads through the pruned network: the weights left in {name} (density "
        f"{float(mask[name].double().mean()):.2g}) read nothing that is left before them; lower search.ratio "
        "or search.rounds, or leave the layer out by search.ignored_layers"
    )


@torch.no_grad()
def _cut_layer(net: nn.Module, mask: Mask, shape: Shape) -> str | None:
    """The first weight from which on nothing depends on the image; None where a path is found."""
    cut = None
    twin = probe_copy(net, shape)
    for gain, ranges in itertools.product(_GAINS, _RANGES):
        _set_positive(twin, mask, gain)
        images = [
            low + (high - low) * probe_images(twin, 1, shape, seed) for seed, (low, high) in enumerate(ranges)
        ]
        try:
            logits, outputs = zip(*(_layer_outputs(twin, image) for image in images), strict=True)
            if not torch.equal(*logits):
                return None
            same = [torch.equal(one, other) for (_, one), (_, other) in zip(*outputs, strict=True)]
        except Exception as error:  # the network's own code fails as it likes, as on pixels beyond 0 to 1
            if is_device_error(error):
                raise
            continue
        dead = len(same) - 1
        while dead > 0 and same[dead - 1]:
            dead -= 1
        cut = cut or outputs[0][dead][0]
    return cut


def _set_positive(net: nn.Module, mask: Mask, gain: float) -> None:
    """Give a network random positive weights where the mask keeps them, with sums of about `gain`."""
    weights = prunable_weights(net)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in net.named_parameters():
        if name in weights:
            entries = mask[name].double()
            values = 0.5 + torch.rand(entries.shape, generator=generator, dtype=torch.float64)
            # sums of about one, so that nothing overflows however deep the network is
            counts = entries.flatten(1).sum(1).clamp(min=1).reshape(-1, *[1] * (entries.ndim - 1))
            parameter.copy_(gain * values * entries / counts)
        elif name.endswith("bias"):
            parameter.zero_()
        elif parameter.ndim == 1:
            parameter.fill_(1.0)  # norms
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()


def _layer_outputs(net: nn.Module, image: Tensor) -> tuple[Tensor, list[tuple[str, Tensor]]]:
    """The logits of an image, and the output of each prunable layer, in the order of their calls."""
    outputs: list[tuple[str, Tensor]] = []
    with observe_layers(net, lambda name, layer, output: outputs.append((name, output.clone()))):
        return net(image), outputs
