"""Checks of the weights that a user's function draws, before anything is trained."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.fingerprint import weights_fingerprint

Build = Callable[[int], nn.Module]
"""Builds a network, initialised by a seed."""


def init_problem(build: Build, name: str, seed: int) -> str:
    """A line where a seed gives other weights at each call, so that a training cannot be repeated; else "".

    name: of the function, for messages.
    Raises InputError for a function that returns the same network, or a part of it, at each call: it would be
    trained on.
    """
    one, other = build(seed), build(seed)
    own = {parameter.data_ptr() for parameter in one.parameters() if parameter.requires_grad}
    own.discard(0)  # of devices that tell no address
    for key, parameter in other.named_parameters():
        if parameter.requires_grad and parameter.numel() and parameter.data_ptr() in own:
            raise InputError(
                f"{name} returns the same {key} at each call, so that a training would begin with weights "
                "that another has trained: build the network within the function, or pass the module itself"
            )
    if weights_fingerprint(one) == weights_fingerprint(other):
        return ""
    return (
        f"{name} gives other weights at each call, although the generators of torch, numpy and random are "
        "seeded alike: draw its weights from them (numpy.random.default_rng() has its own seed), or give "
        "--model.init glorot-normal"
    )


def seed_warnings(build: Build, name: str, seeds: Sequence[int], arms: Sequence[str]) -> list[str]:
    """A line where weights are the same for all seeds, as those that a function loads.

    seeds: two or more that ought to give different weights.
    arms: the names of the arms that start from a new init.
    Raises InputError where there are such arms, and all weights that are drawn are the same.
    """
    nets = [build(seed) for seed in seeds[:2]]
    weights = [{n: p.detach() for n, p in net.named_parameters() if _is_drawn(p)} for net in nets]
    same = [n for n, p in weights[0].items() if n in weights[1] and torch.equal(p, weights[1][n])]
    if not same:
        return []
    if arms and len(same) == len(weights[0]):
        raise InputError(
            f"{name} gives the same weights for every seed, as a module that is passed in or weights that "
            f"are loaded, and {', '.join(arms)} need new ones: leave them out of compare.arms, or give "
            "--model.init glorot-normal"
        )
    use = f"{', '.join(arms)} start from them too" if arms else "seeds differ by their batches alone"
    if len(same) < len(weights[0]):
        use = f"a new init has them too ({', '.join(same[:3])}{', ...' if len(same) > 3 else ''})"
    return [f"{name}: {len(same)} of {len(weights[0])} weights are the same for every seed; {use}"]


def _is_drawn(parameter: nn.Parameter) -> bool:
    """Whether a parameter has different values, as no vector and no init by zeros has."""
    return (
        parameter.requires_grad and parameter.ndim > 1 and bool((parameter != parameter.flatten()[0]).any())
    )
