"""A checkpoint as the adversarial pruning benchmark takes it (Piras et al. 2024, arXiv 2409.01249)."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from robust_tickets.attacks.network import set_mode
from robust_tickets.base.errors import InputError
from robust_tickets.models import registry
from robust_tickets.models.normalise import Normalise
from robust_tickets.models.user_net import NetFactory
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.training.checkpoint import Checkpoint

NETS = {"resnet18": "R18", "vgg16-3fc": "V16"}
"""Networks of the benchmark -> their part of its keys; names of layers are the same."""

DATA = {"cifar10": "CIFAR10", "svhn": "SVHN"}
"""Its data sets -> their part of its keys."""

SPARSITIES = {"weight": ("US", (90, 95, 99)), "channel": ("S", (50, 75, 90))}
"""What is pruned -> its part of the keys, and the percentages that there are tables of."""

TOLERANCE = 0.5
"""Largest distance from one of these, in points."""

Net = Callable[[Tensor], Tensor]


def save_for_benchmark(net: nn.Module, original: Checkpoint, file: Path, make: NetFactory | None) -> Net:
    """Write `{"state_dict": ..., "key": ..., "mean": ..., "std": ...}` with torch.save; gives the network in
    it.

    The state dict is dense, with zeros, and has all channels of the network. The normalisation is not in it:
    mean and std say what the images have to be normalised with.

    Raises InputError for a network or data that the benchmark has not, at another width, and for a sparsity
    that it has no table of.
    """
    spec, recipe = original.model, original.resolved_recipe()
    if make is not None or spec.name not in NETS or spec.width != 1:
        raise InputError(
            f"the benchmark has {' and '.join(NETS)} at width 1, and this is {spec.name} at width "
            f"{spec.width:g}"
        )
    if recipe.data.name not in DATA:
        raise InputError(
            f"the benchmark has {' and '.join(DATA)}, and this was trained on {recipe.data.name}"
        )
    full = registry.build(spec, seed=0)
    full.load_state_dict(_widened(net.state_dict(), full.state_dict()))
    structure, shares = SPARSITIES[recipe.search.granularity]
    percent = _pruned_percent(full)
    nearest = min(shares, key=lambda share: abs(share - percent))
    if abs(nearest - percent) > TOLERANCE:
        raise InputError(
            f"{percent:.1f} % of the weights are pruned, and the benchmark has tables of "
            f"{', '.join(map(str, shares))} % for search.granularity {recipe.search.granularity}: train "
            "a ticket of one of these"
        )
    norm = {
        id(each) for module in full.modules() if isinstance(module, Normalise) for each in module.buffers()
    }
    state = {name: value for name, value in full.state_dict(keep_vars=True).items() if id(value) not in norm}
    content = {
        "state_dict": {name: value.detach() for name, value in state.items()},
        "key": f"{NETS[spec.name]}_{DATA[recipe.data.name]}_{structure}_{nearest}",
        "mean": list(spec.mean),
        "std": list(spec.std),
    }
    torch.save(content, file)
    again = registry.build(spec, seed=1)
    again.load_state_dict(full.state_dict() | torch.load(file, weights_only=True)["state_dict"])
    return set_mode(again, False)


def _widened(state: Mapping[str, Tensor], full: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state in the shapes of another one: channels that were removed come last, and are zero.

    They make nothing, as their gamma and beta are zero too, and what reads them is zero.
    """
    result = {}
    for name, value in state.items():
        wide = torch.zeros_like(full[name], dtype=value.dtype)
        wide[tuple(slice(n) for n in value.shape)] = value
        result[name] = wide
    return result


def _pruned_percent(net: nn.Module) -> float:
    weights = list(prunable_weights(net).values())
    return 100 * sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)
