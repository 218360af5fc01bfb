"""Parts of a network that are not pruned, not trained or not folded."""

from collections.abc import Mapping

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from robust_tickets.models.fold import foldable_batchnorms
from robust_tickets.models.modes import frozen_modules
from robust_tickets.models.trial_pass import Shape
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.own_forward import saves_by_zeros


def unsupported_parts(net: nn.Module, shape: Shape | None = None) -> list[str]:
    """A line each for weights that cannot be pruned, those that are frozen, and BatchNorms not folded.

    shape: of an image, (C, H, W), with which it is tried whether folding leaves the function as it is.
    """
    lines = []
    total = sum(p.numel() for p in net.parameters())
    prunable = {id(weight) for weight in prunable_weights(net).values()}
    # vectors are biases and norms, which no mask of ours counts
    others = {n: p for n, p in net.named_parameters() if p.ndim > 1 and id(p) not in prunable}
    computed = {n: p for n, p in others.items() if "parametrizations" in n.split(".")}
    frozen = {n: p for n, p in net.named_parameters() if not p.requires_grad}
    if others.keys() - computed.keys():
        rest = {n: p for n, p in others.items() if n not in computed}
        lines.append(
            f"not pruned: {_size(rest)} of {total:,} parameters belong to no convolution or linear layer "
            f"({_first_names(rest)})"
        )
    if computed:
        lines.append(
            f"not pruned: {_size(computed)} of {total:,} parameters only go into weights that are computed "
            f"({_first_names(computed)}); torch.nn.utils.parametrize.remove_parametrizations makes these "
            "weights parameters again"
        )
    if frozen:
        lines.append(
            f"not trained: {_size(frozen)} of {total:,} parameters are frozen ({_first_names(frozen)}); "
            "where they are weights, no search prunes them"
        )
    unused = {n: b for n, b in net.named_buffers() if b.requires_grad}
    if unused:
        lines.append(
            f"not trained: {len(unused)} buffers require a gradient, and only parameters are trained "
            f"({_first(list(unused))}): make them nn.Parameter, or buffers without requires_grad"
        )
    frozen_ids = set(map(id, frozen_modules(net)))
    modes = [name or "the network" for name, module in net.named_modules() if id(module) in frozen_ids]
    if modes:
        lines.append(
            f"not switched to training: {len(modes)} modules were put in eval mode and stay in it "
            f"({_first(modes)})"
        )
    own = [name for name, module in net.named_modules() if not saves_by_zeros(module)]
    if own:
        lines.append(
            f"pruned before they are computed: {len(own)} layers have a forward of their own "
            f"({_first(own)}); what they compute of pruned weights need not be zero, and saves no FLOPs"
        )
    norms = sum(isinstance(module, _BatchNorm) for module in net.modules())
    known, folded = len(foldable_batchnorms(net)), len(foldable_batchnorms(net, shape))
    if folded < norms:
        reason = (
            "since no convolution is known to come directly before them"
            if known == folded
            else "since the network gives other logits when they are, as where it looks at its own layers"
        )
        lines.append(
            f"not folded for the attack: {norms - folded} of {norms} BatchNorms, {reason} (the attack takes "
            "longer, with the same result)"
        )
    return lines


def _size(parameters: Mapping[str, nn.Parameter]) -> str:
    return f"{sum(p.numel() for p in parameters.values()):,}"


def _first_names(parameters: Mapping[str, nn.Parameter]) -> str:
    return _first(list(parameters))


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
