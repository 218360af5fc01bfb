"""A mask applied to a network in training, with the biases and BatchNorms of the filters that it removes."""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from robust_tickets.base.errors import InputError
from robust_tickets.models.fold import foldable_batchnorms
from robust_tickets.pruning.channel_groups import channel_groups
from robust_tickets.pruning.companions import prove_companions
from robust_tickets.pruning.layers import Shape, has_own_forward
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.shared_parameters import shared_parameters


def masking_for(net: nn.Module, mask: Mask, shape: Shape, moves: bool = False) -> "Masking":
    """The masking of a network for images (C, H, W). Raises InputError for a mask that does not fit.

    moves: whether the mask will move. Then a filter that is pruned whole may come back, so nothing is held at
        zero with it.
    """
    mask.check_fits(net)
    if mask.basis is not None:
        from robust_tickets.pruning.basis_masking import BasisMasking

        if moves:
            mask.check_canonical("train.dst")
        return BasisMasking(net, mask)
    if moves:
        return Masking(net, mask, {}, companions_of_dead=False)
    try:
        groups = channel_groups(net, shape) if mask.has_dead_channels else []
    except InputError:  # of a network that cannot be traced, the BatchNorms behind convolutions are known
        groups = []
    companions = prove_companions(net, groups, mask, shape)
    shared = shared_parameters(net, shape) if mask.has_dead_channels else frozenset()
    masking = Masking(net, mask, foldable_batchnorms(net), companions.masks, shared)
    if companions.mixed:
        group, layer = next(iter(companions.mixed.items()))
        masking.warnings.append(
            f"channels are mixed, padded or changed between {group} and {layer}: what pruned filters leave "
            "behind there is trained like the rest (correct, and slower)"
        )
    return masking


class Masking:
    """Applies a mask to one network: to gradients before the optimiser's step, to parameters after it.

    With masked gradients momentum never holds a pruned weight; with masked parameters pruned entries are
    exactly 0.0 whatever the optimiser does.

    net: the network.
    mask: its mask.
    norms: layer -> BatchNorm behind it. A filter that is pruned whole would still send a constant forward, so
        its bias, gamma and beta are masked too.
    companions: further parameters to mask, by name.
    shared: names of parameters that others use too, which are left alone unless the mask has them.
    companions_of_dead: whether a filter that is pruned whole takes its bias, gamma and beta with it.
    """

    def __init__(
        self,
        net: nn.Module,
        mask: Mask,
        norms: Mapping[str, str],
        companions: Mapping[str, Tensor] = {},
        shared: Collection[str] = (),
        companions_of_dead: bool = True,
    ) -> None:
        mask.check_fits(net)
        self.warnings: list[str] = []
        self.optimiser: Optimizer | None = None
        """Forgets the momentum of weights that a moving mask prunes."""
        parameters = dict(net.named_parameters())
        masks = dict(mask.items())
        if companions_of_dead:
            masks |= dead_filter_masks(mask, norms, _maskable(net).difference(shared))
        masks |= {name: masks.get(name, live) & live for name, live in companions.items()}
        self._names = list(mask)
        self._parameters: list[Tensor] = [parameters[name] for name in masks]
        # in the parameter's own type and memory format, so that multiplying is one pass over memory
        self._masks = [
            torch.empty_like(parameters[name], requires_grad=False).copy_(entries)
            for name, entries in masks.items()
        ]

    @property
    def weights(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The weights and masks (0 or 1, in the weight's type) by parameter name, companions left out."""
        return {name: (self._parameters[i], self._masks[i]) for i, name in enumerate(self._names)}

    @torch.no_grad()
    def move(self, masks: Mapping[str, Tensor]) -> None:
        """Take other masks of some weights, and set what they prune to zero.

        The optimiser forgets what it remembers of pruned weights. At once, since weight decay would bring
        some of it back in the next step.
        """
        for name, (parameter, mask) in self.weights.items():
            if name not in masks:
                continue
            mask.copy_(masks[name])
            parameter.mul_(mask)
            for value in self.optimiser.state.get(parameter, {}).values() if self.optimiser else ():
                if isinstance(value, Tensor) and value.shape == mask.shape:
                    value.mul_(mask)

    @property
    def zeros(self) -> int:
        """Number of parameters held at zero, companions of dead filters included."""
        return sum(int((mask == 0).sum()) for mask in self._masks)

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Set the gradients of pruned entries to zero."""
        pairs = [
            (p.grad, m) for p, m in zip(self._parameters, self._masks, strict=True) if p.grad is not None
        ]
        if pairs:
            torch._foreach_mul_([gradient for gradient, _ in pairs], [mask for _, mask in pairs])

    @torch.no_grad()
    def mask_parameters(self) -> None:
        """Set pruned entries to zero."""
        torch._foreach_mul_(self._parameters, self._masks)

    @torch.no_grad()
    def check(self) -> None:
        """Raise InputError where a pruned entry is not exactly zero, as if the network wrote its weights."""
        for parameter, mask in zip(self._parameters, self._masks, strict=True):
            revived = int(((mask == 0) & (parameter != 0)).sum())
            if revived:
                raise InputError(
                    f"{revived} pruned weights are no longer zero, in a layer of {tuple(parameter.shape)}: "
                    "something besides the optimiser changes the network's weights; let it leave them alone"
                )


def _maskable(net: nn.Module) -> set[str]:
    """Parameters that may be held at zero: none that the user froze, nor a bias of a layer's own forward."""
    own = {name for name, module in net.named_modules() if has_own_forward(module)}
    return {
        name
        for name, parameter in net.named_parameters()
        if parameter.requires_grad and not (name.endswith(".bias") and name.removesuffix(".bias") in own)
    }


def dead_filter_masks(mask: Mask, norms: Mapping[str, str], parameters: Iterable[str]) -> dict[str, Tensor]:
    """Masks (one entry a filter) of the biases, gammas and betas of filters that are pruned whole."""
    names = set(parameters)
    masks: dict[str, Tensor] = {}
    for weight, entries in mask.items():
        live = entries.flatten(1).any(1)
        if bool(live.all()):
            continue
        layer = weight.removesuffix(".weight")
        norm = norms.get(layer)
        companions = [f"{layer}.bias"] + ([f"{norm}.weight", f"{norm}.bias"] if norm is not None else [])
        masks |= {name: live for name in companions if name in names}
    return masks
