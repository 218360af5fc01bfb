"""BatchNorms whose statistics in train mode are those of the batches of all processes together.

As torch.nn.SyncBatchNorm, which does not work on CPUs; the network's layers stay as they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robust_tickets.base.errors import InputError
from robust_tickets.base.process_group import ProcessGroup
from robust_tickets.models.norm_statistics import moving_batchnorms

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def check_norms(net: nn.Module) -> None:
    """Raise InputError for a BatchNorm that cannot be synchronised."""
    for name, norm in net.named_modules():
        if not isinstance(norm, _BatchNorm):
            continue
        if type(norm) not in _KINDS:
            raise InputError(
                f"layer {name} is a {type(norm).__name__}, a BatchNorm of its own class, which several "
                "devices cannot share: train on one device, or use torch.nn.BatchNorm2d"
            )
        if norm.running_mean is None or not norm.track_running_stats:
            raise InputError(
                f"layer {name} keeps no running statistics, so that attacks depend on the whole batch: train "
                "on one device, or leave out track_running_stats=False"
            )


@contextmanager
def synchronised_norms(net: nn.Module, group: ProcessGroup) -> Iterator[None]:
    """Within it, a network's BatchNorms in train mode normalise by the batches of all processes."""
    norms = moving_batchnorms(net) if group.size > 1 else []
    for norm in norms:
        vars(norm)["forward"] = partial(_forward, norm, group)
    try:
        yield
    finally:
        for norm in norms:
            del vars(norm)["forward"]


def _forward(norm: _BatchNorm, group: ProcessGroup, values: Tensor) -> Tensor:
    norm._check_input_dim(values)  # type: ignore[no-untyped-call]
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    normed, mean, variance, count = _Normalise.apply(values, norm.eps, group)
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        # without a momentum the mean over all calls
        share = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean.to(norm.running_mean), share)
        norm.running_var.lerp_((variance * (count / (count - 1))).to(norm.running_var), share)
    shape = (1, -1) + (1,) * (values.dim() - 2)
    if norm.weight is not None:
        normed = normed * norm.weight.view(shape)
    if norm.bias is not None:
        normed = normed + norm.bias.view(shape)
    result: Tensor = normed.to(values.dtype)
    return result


class _Normalise(torch.autograd.Function):
    """(x - m) / sqrt(v + eps) a channel, m and v over the batches of all processes (Ioffe & Szegedy 2015)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, eps: float, group: ProcessGroup) -> tuple[Tensor, ...]:
        """The normalised values, mean and variance (C,), and the count of values a channel."""
        values = values if values.dtype == torch.float64 else values.float()
        axes = [axis for axis in range(values.dim()) if axis != 1]
        shape = [1 if axis in axes else -1 for axis in range(values.dim())]
        count = values.numel() // values.shape[1] * group.size
        mean = group.sum(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = group.sum((centred * centred).sum(axes)) / count
        scale = (variance + eps).rsqrt().view(shape)
        normed = centred * scale
        ctx.save_for_backward(normed, scale)
        ctx.group, ctx.axes, ctx.count = group, axes, count
        counts = torch.full((), float(count), dtype=values.dtype, device=values.device)
        ctx.mark_non_differentiable(mean, variance, counts)
        return normed, mean, variance, counts

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient to the values, scale (dy - mean(dy) - y mean(y dy)); means over all processes."""
        normed, scale = ctx.saved_tensors
        gradient = gradients[0]
        sums = torch.stack([gradient.sum(ctx.axes), (gradient * normed).sum(ctx.axes)])
        of_gradient, of_product = (ctx.group.sum(sums) / ctx.count).view(2, *scale.shape).unbind()
        return scale * (gradient - of_gradient - normed * of_product), None, None
