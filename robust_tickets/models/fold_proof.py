"""Proves by number that a folded network is the function that the network is."""

import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress

import torch
from torch import Tensor, nn

from robust_tickets.base.device_errors import is_device_error
from robust_tickets.models.trial_pass import Shape, trial_images, trial_logits

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
_NOTHING = 1e-3
"""A weight tensor whose values are all smaller may hide what comes before it: a new head, a layer's scale."""


def folds_wrongly(
    copy: Callable[[], nn.Module],
    fold: Callable[[nn.Module], nn.Module],
    norms: Iterable[str],
    shape: Shape,
) -> bool:
    """Whether a network gives other logits when it is folded, as one does that looks at its own layers.

    copy: gives deep copies of the network, in eval mode.
    fold: folds one.
    norms: names of the BatchNorms that are folded; they get other statistics, weights and biases, so that one
    that is lost shows.
    shape: of an image, (C, H, W).

    In float64 where the network's code can. False where its logits prove nothing: where they are not finite,
    others at the same call, or its code fails.
    """
    names = list(norms)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the user's code, which warns when it is called in earnest
        for dtype in _TOLERANCE:
            try:
                net = copy().to(dtype)
                _disturb(net, names)
                images = trial_images(net, shape)
                logits = trial_logits(net, images)
            except Exception as error:  # whatever the network's code raises, as of a dtype of its own
                if is_device_error(error):
                    raise
                continue
            try:
                others = trial_logits(fold(net), images)
            except Exception as error:  # its code asks for what a BatchNorm has
                if is_device_error(error):
                    raise
                return True
            tolerance = _TOLERANCE[dtype]
            same = not _differ(others, logits, tolerance)
            return not same and not _differ(trial_logits(net, images), logits, tolerance)
    return False


@torch.no_grad()
def _disturb(net: nn.Module, norms: list[str]) -> None:
    generator = torch.Generator().manual_seed(0)

    def uniform(like: Tensor) -> Tensor:
        return (torch.rand(like.shape, generator=generator) + 0.5).to(like)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like)

    for norm in map(net.get_submodule, norms):
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_var.mul_(uniform(norm.running_var))
        norm.running_mean.add_(0.3 * normal(norm.running_mean) * (norm.running_var + norm.eps).sqrt())
        if norm.weight is not None:
            norm.weight.copy_(uniform(norm.weight))
        if norm.bias is not None:
            norm.bias.copy_(0.3 * normal(norm.bias))
    for parameter in net.parameters():
        small = parameter.is_floating_point() and parameter.numel() and parameter.abs().max() < _NOTHING
        if small:
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            with suppress(RuntimeError):  # as of an inference tensor
                parameter.copy_(normal(parameter) / fan_in**0.5)


def _differ(logits: Tensor, others: Tensor, tolerance: float) -> bool:
    """Whether finite logits differ by more than a share of the largest."""
    if not others.isfinite().all():
        return False
    return not bool((logits - others).abs().max() <= tolerance * others.abs().max())
