"""A mask at work on a net, and on all that goes with the channels that it prunes whole."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.fold import foldable_batchnorms
from robust_tickets.pruning.channel_groups import Shape, channel_groups
from robust_tickets.pruning.compaction import companion_masks
from robust_tickets.pruning.mask import Mask


def masking_for(net: nn.Module, mask: Mask, shape: Shape) -> "Masking":
    """The masking of a net for images (C, H, W). Raises InputError for a mask that does not fit."""
    mask.check_fits(net)
    try:
        groups = channel_groups(net, shape) if mask.any_dead else []
    except InputError:  # a net that cannot be followed: what stands right behind its convolutions is known
        groups = []
    along = companion_masks(groups, mask, dict(net.named_parameters()))
    return Masking(net, mask, foldable_batchnorms(net), along)


class Masking:
    """A mask at work on one net: gradients before the optimiser's step, parameters after it.

    Masking the gradients too keeps momentum from ever holding a pruned weight, and masking the parameters
    makes pruned entries exactly 0.0 whatever the optimiser does. `norms` (layer -> BatchNorm behind it) says
    what else belongs to a filter: where one dies whole, its bias, gamma and beta are masked too, as it would
    otherwise still send a constant forward; `along` has masks of more parameters that go with them.
    """

    def __init__(
        self, net: nn.Module, mask: Mask, norms: Mapping[str, str], along: Mapping[str, Tensor] = {}
    ) -> None:
        mask.check_fits(net)
        parameters = dict(net.named_parameters())
        kept = dict(mask.items())
        kept |= dead_filters(mask, norms, parameters)
        kept |= {name: kept.get(name, lives) & lives for name, lives in along.items()}
        # a mask of the parameter's own type and memory format, so that multiplying is one pass over memory
        pairs = [(parameters[name], _like(keep, parameters[name])) for name, keep in kept.items()]
        self._parameters: list[Tensor] = [parameter for parameter, _ in pairs]
        self._masks = [keep for _, keep in pairs]

    @property
    def pruned(self) -> int:
        """How many parameters are held at zero, those that go with dead filters included."""
        return sum(int((mask == 0).sum()) for mask in self._masks)

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Set the gradients of pruned entries to zero."""
        found = [
            (p.grad, m) for p, m in zip(self._parameters, self._masks, strict=True) if p.grad is not None
        ]
        if found:
            _multiply([gradient for gradient, _ in found], [mask for _, mask in found])

    @torch.no_grad()
    def mask_parameters(self) -> None:
        """Set pruned entries to zero."""
        _multiply(self._parameters, self._masks)

    @torch.no_grad()
    def check(self) -> None:
        """Raise InputError if a pruned entry is not exactly zero, as where the net writes its own weights."""
        for parameter, mask in zip(self._parameters, self._masks, strict=True):
            alive = int(((mask == 0) & (parameter != 0)).sum())
            if alive:
                raise InputError(
                    f"{alive} pruned weights are no longer zero, in a layer of {tuple(parameter.shape)}: "
                    "something besides the optimiser changes the net's weights; let it leave them alone"
                )


def dead_filters(mask: Mask, norms: Mapping[str, str], parameters: Iterable[str]) -> dict[str, Tensor]:
    """Masks (one entry a filter) of the biases, gammas and betas that go with filters that died whole."""
    names = set(parameters)
    extra: dict[str, Tensor] = {}
    for weight, kept in mask.items():
        alive = kept.flatten(1).any(1)
        if bool(alive.all()):
            continue
        layer = weight.removesuffix(".weight")
        norm = norms.get(layer)
        companions = [f"{layer}.bias"] + ([f"{norm}.weight", f"{norm}.bias"] if norm is not None else [])
        extra |= {name: alive for name in companions if name in names}
    return extra


def _multiply(tensors: list[Tensor], masks: list[Tensor]) -> None:
    """Multiply in place, all of them in one call."""
    torch._foreach_mul_(tensors, masks)


def _like(keep: Tensor, parameter: nn.Parameter) -> Tensor:
    return torch.empty_like(parameter, requires_grad=False).copy_(keep)
