"""Layers with a forward of their own, told by number from those that use other weights than they hold."""

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from robust_tickets.attacks.network import set_mode
from robust_tickets.base.device_errors import is_device_error
from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.copy_net import copy_net
from robust_tickets.pruning.layers import has_own_forward

_FILTERS = 4
"""How many filters are looked at."""
_TOLERANCE = 1e-4
"""Relative, as a layer may compute in float32 whatever it is given."""


def saves_by_zeros(layer: nn.Module) -> bool:
    """Whether a zero in a layer's weight is one multiplication less at each position of the output.

    So it is in PyTorch's own layers, and in those that do something besides, as to pad the image; not where
    the weight is standardised or transformed first. Then the gradient of an output to the input is no longer
    the filter, up to a factor that is the same for all weights: seen with random sparse weights and inputs,
    on a copy. A layer whose code fails on such an input does not save.
    """
    if not has_own_forward(layer):
        return True
    try:
        with use_seed(0), torch.enable_grad():
            twin = set_mode(copy_net(layer), False).double()
            factors = [_factors(twin) for _ in range(2)]
    except Exception as error:  # the layer's own code fails as it likes
        if is_device_error(error):
            raise
        return False
    one, other = factors
    return one is not None and other is not None and torch.allclose(one, other, rtol=_TOLERANCE)


def _factors(layer: nn.Module) -> Tensor | None:
    """The factors between some filters, drawn at random, and what is multiplied by; None where none fits."""
    assert isinstance(layer, _ConvNd | nn.Linear)
    weight = layer.weight
    with torch.no_grad():
        weight.copy_(torch.randn(weight.shape) * (torch.rand(weight.shape) < 0.5))
    places = torch.linspace(0, len(weight) - 1, min(_FILTERS, len(weight))).long()
    inputs = torch.randn(len(places), *_input_shape(layer)).to(weight).requires_grad_()
    outputs = layer(inputs)
    # an image for each filter, and an output in the middle, whose window has nothing of a padding
    middle = [size // 2 for size in outputs.shape[2:]]
    total = torch.stack([outputs[(i, place, *middle)] for i, place in enumerate(places.tolist())]).sum()
    (gradient,) = torch.autograd.grad(total, inputs)
    factors = []
    for values, row in zip(gradient, weight.detach()[places.to(weight.device)], strict=True):
        found, filter_ = values[values != 0], row[row != 0]
        if not len(filter_) or len(found) != len(filter_):
            return None
        factor = found[0] / filter_[0]
        if not torch.allclose(found, factor * filter_, rtol=_TOLERANCE):
            return None
        factors.append(factor)
    return torch.stack(factors)


def _input_shape(layer: _ConvNd | nn.Linear) -> tuple[int, ...]:
    """The shape of an input with room for three windows in each direction."""
    if isinstance(layer, nn.Linear):
        return (layer.in_features,)
    windows = (
        3 * (k - 1) * d + 1 + 2 * s
        for k, d, s in zip(layer.kernel_size, layer.dilation, layer.stride, strict=True)
    )
    return (layer.in_channels, *windows)
