"""Growth of a network by blocks or layers: what it has learnt stays, and what is new is whole.

Zhang 2021, "Juvenile state hypothesis: What we can learn from lottery ticket hypothesis researches?" (arXiv
2109.03862), grows a ticket by identities.
"""

import torch
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.mlp import MLP
from robust_tickets.models.resnet import Block, CifarResNet
from robust_tickets.models.weights import StateDict, copy_state, load_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.tickets.methods.recursive import Insert


def grow(state: StateDict, mask: Mask, deeper: nn.Module, insert: Insert) -> tuple[StateDict, Mask]:
    """A state and a mask on a deeper network of the same family and width.

    state, mask: of the shallower network.
    insert: what is put in, as `search.recursive.insert` says.
    deeper: the deeper network at its init, which what is new begins with, but for what `insert` says; it is
        left with the new state.

    Raises InputError for a network that cannot take such blocks, with the name of what has no place.
    """
    own = copy_state(deeper)
    missing = next((n for n, value in state.items() if n not in own or own[n].shape != value.shape), None)
    if missing is not None:
        raise InputError(
            f"{missing} {tuple(state[missing].shape)} has no place in {type(deeper).__name__}: grow into a "
            "deeper network of the same family and width"
        )
    new = {name for name in own if name not in state}
    if not new:
        raise InputError("both networks have the same layers, so nothing grows: name a deeper one")
    blocks = _new_blocks(deeper, new, insert)
    with torch.no_grad():
        for block in blocks:
            _insert(block, insert)
    load_weights(deeper, {**copy_state(deeper), **state}, "growth")
    grown = Mask({**Mask.full(deeper), **mask})
    return copy_state(deeper), grown


def _new_blocks(deeper: nn.Module, new: set[str], insert: Insert) -> list[nn.Module]:
    """The modules that are new as a whole."""
    kind = nn.Linear if insert == "identity-linear" else Block
    family = MLP if insert == "identity-linear" else CifarResNet
    blocks = {name: module for name, module in deeper.named_modules() if isinstance(module, kind)}
    chosen = {
        name: block
        for name, block in blocks.items()
        if all(f"{name}.{key}" in new for key in block.state_dict())
    }
    covered = {f"{name}.{key}" for name, block in chosen.items() for key in block.state_dict()}
    if not isinstance(deeper, family) or covered != new:
        other = ", ".join(sorted(new - covered)[:3])
        names = "mlp-2 and mlp-3" if family is MLP else "resnet14 and resnet20"
        raise InputError(
            f"{insert} has no place in {type(deeper).__name__}{f' ({other})' if other else ''}: it is for "
            f"networks such as {names}; choose another search.recursive.insert, or such networks"
        )
    return list(chosen.values())


def _insert(block: nn.Module, insert: Insert) -> None:
    """Give a new block its first weights, in place."""
    if isinstance(block, nn.Linear):
        nn.init.eye_(block.weight)
        nn.init.zeros_(block.bias)
        return
    assert isinstance(block, Block)
    if insert == "zero-block":
        nn.init.zeros_(block.bn2.weight)
        return
    for layer in (block.conv1, block.conv2):
        nn.init.dirac_(layer.weight)
