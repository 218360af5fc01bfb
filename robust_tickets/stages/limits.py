"""What a net has that is left as it is: said, so that nobody takes it for pruned or folded."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from robust_tickets.models import norms_after
from robust_tickets.pruning import prunable


def left_alone(net: nn.Module) -> list[str]:
    """A line for the weights that cannot be pruned, and one for the BatchNorms that cannot be folded."""
    lines = []
    may = {id(weight) for weight in prunable(net).values()}
    # vectors are biases and norms, which no mask of ours counts
    others = {n: p for n, p in net.named_parameters() if p.ndim > 1 and id(p) not in may}
    if others:
        count, all_ = sum(p.numel() for p in others.values()), sum(p.numel() for p in net.parameters())
        named = ", ".join(list(others)[:3]) + (", ..." if len(others) > 3 else "")
        lines.append(
            f"not pruned: {count:,} of {all_:,} parameters belong to no convolution or linear layer ({named})"
        )
    norms = sum(isinstance(module, _BatchNorm) for module in net.modules())
    folded = len(norms_after(net))
    if folded < norms:
        lines.append(
            f"not folded for the attack: {norms - folded} of {norms} BatchNorms, which no convolution is "
            "known to stand right before"
        )
    return lines
