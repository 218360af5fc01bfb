"""Whether anything still leads through a pruned net."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robust_tickets.base.errors import InputError
from robust_tickets.models.fold import copy_net
from robust_tickets.pruning.mask import Mask, prunable


@torch.no_grad()
def check_paths(net: nn.Module, mask: Mask, shape: tuple[int, int, int]) -> None:
    """Raise InputError where no path of kept weights leads from an image (C, H, W) to a logit.

    Every layer may have weights left and the net still be cut in two. It is looked for on a copy of which the
    kept weights are positive and all biases zero, so that nothing cancels or is rectified away: what two
    images give is then the same only where no path leads.
    """
    twin = _opened(net, mask)
    like = next(twin.parameters())
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand((1, *shape), generator=generator, dtype=torch.float64) + shift for shift in (0, 2)]
    logits, outputs = zip(*(_looked(twin, image.to(like.device)) for image in images), strict=True)
    if not torch.equal(*logits):
        return
    calls = [(name, torch.equal(one, outputs[1][i][1])) for i, (name, one) in enumerate(outputs[0])]
    dead = len(calls) - 1
    while dead > 0 and calls[dead - 1][1]:
        dead -= 1
    name = calls[dead][0]
    raise InputError(
        f"no path leads through the pruned net: what is kept of {name} (density "
        f"{float(mask[name].double().mean()):.2g}) meets nothing that is kept before it; lower search.ratio "
        "or search.rounds, or leave the layer out by search.ignored_layers"
    )


def _opened(net: nn.Module, mask: Mask) -> nn.Module:
    """A copy in float64 with random positive weights where the mask keeps them."""
    twin = copy_net(net).double().eval()
    weights = prunable(twin)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in twin.named_parameters():
        if name in weights:
            kept = mask[name].double()
            drawn = (0.5 + torch.rand(kept.shape, generator=generator, dtype=torch.float64)) * kept
            # sums of about one, so that nothing overflows however deep the net is
            counts = kept.flatten(1).sum(1).clamp(min=1).reshape(-1, *[1] * (kept.ndim - 1))
            parameter.copy_(drawn / counts)
        elif name.endswith("bias"):
            parameter.zero_()
        elif parameter.ndim == 1:
            parameter.fill_(1.0)  # norms
    for module in twin.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
    return twin


def _looked(net: nn.Module, image: Tensor) -> tuple[Tensor, list[tuple[str, Tensor]]]:
    """The logits of an image, and what each prunable layer gave, in the order of their calls."""
    names = {id(weight): name for name, weight in prunable(net).items()}
    seen: list[tuple[str, Tensor]] = []

    def note(module: nn.Module, args: object, output: Tensor) -> None:
        seen.append((names[id(module.weight)], output.clone()))

    hooks = [m.register_forward_hook(note) for m in net.modules() if id(getattr(m, "weight", None)) in names]
    try:
        return net(image), seen
    finally:
        for hook in hooks:
            hook.remove()
