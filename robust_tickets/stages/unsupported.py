"""Parts of a network that are not pruned, not trained or not folded."""

from collections.abc import Mapping

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from robust_tickets.models.fold import foldable_batchnorms
from robust_tickets.pruning.layers import prunable_weights


def unsupported_parts(net: nn.Module) -> list[str]:
    """A line each for weights that cannot be pruned, those that are frozen, and BatchNorms not folded."""
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
            "where they are weights, a search still prunes them, unless search.ignored_layers names them"
        )
    norms = sum(isinstance(module, _BatchNorm) for module in net.modules())
    folded = len(foldable_batchnorms(net))
    if folded < norms:
        lines.append(
            f"not folded for the attack: {norms - folded} of {norms} BatchNorms, since no convolution is "
            "known to come directly before them (the attack takes longer, with the same result)"
        )
    return lines


def _size(parameters: Mapping[str, nn.Parameter]) -> str:
    return f"{sum(p.numel() for p in parameters.values()):,}"


def _first_names(parameters: Mapping[str, nn.Parameter]) -> str:
    return ", ".join(list(parameters)[:3]) + (", ..." if len(parameters) > 3 else "")
