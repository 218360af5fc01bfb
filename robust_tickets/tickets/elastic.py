"""Elastic tickets: a ticket of another depth, whose blocks are copies of a ticket's (Chen et al. 2021).

Stem, classifier and the first block of each stage stay; the other blocks are copied or left out. Nothing is
searched, and a copy is trained apart from what it was copied from. The new network computes something else: a
block that is there twice is applied twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.blocks import find_stages
from robust_tickets.models.registry import ModelSpec, build
from robust_tickets.pruning.mask import Mask
from robust_tickets.tickets.ticket import Ticket

Order = Literal["append", "interpolate"]
"""Of copies: append repeats a stage's blocks as a whole (1 2 1 2), interpolate each of them (1 1 2 2)."""


@dataclass(frozen=True)
class BlockMap:
    """Which block of the source each block of the target is copied from.

    numbers: of the source's blocks in each stage of the target, its first block (0) included.
    modules: names of the target's modules -> those of the source.
    """

    numbers: tuple[tuple[int, ...], ...]
    modules: Mapping[str, str]

    def source_of(self, name: str) -> str:
        """The name of the source's tensor that a tensor of the target is copied from."""
        for module, source in self.modules.items():
            if name.startswith(f"{module}."):
                return source + name.removeprefix(module)
        return name


def copied_blocks(source: int, target: int, order: Order) -> list[int]:
    """The numbers (from 0) of the blocks that a stage of `target` equal blocks has, from one of `source`.

    The earlier ones are copied more often where the numbers do not divide. With fewer blocks, append keeps
    the first ones and interpolate evenly spaced ones, so that each gives back what it has stretched.
    """
    if not target:
        return []
    if order == "append":
        return [i % source for i in range(target)]
    if target < source:
        times, extra = divmod(source, target)
        return [i * times + min(i, extra) for i in range(target)]
    times, extra = divmod(target, source)
    return [i for i in range(source) for _ in range(times + (i < extra))]


def map_blocks(source: ModelSpec, target: ModelSpec, order: Order) -> BlockMap:
    """The map from a network's blocks to those of another depth.

    Raises InputError for networks of other families, and for a stage without a block to copy.
    """
    old = find_stages(_skeleton(source))
    families = [type(_skeleton(replace(spec, shape=(spec.shape[0], 64, 64)))) for spec in (source, target)]
    other_family = InputError(
        f"{target.name} is of another family than {source.name}: choose a network that differs in depth "
        "alone, as resnet20 and resnet32, vgg13 and vgg16, wrn28-10 and wrn34-10"
    )
    if families[0] is not families[1]:  # now, as the target may need larger images
        raise other_family
    new = find_stages(_skeleton(target))
    if len(old) != len(new):
        raise other_family
    numbers: list[tuple[int, ...]] = []
    modules: dict[str, str] = {}
    for number, (one, other) in enumerate(zip(old, new, strict=True), 1):
        if other.others and not one.others:
            raise InputError(
                f"stage {number} of {source.name} has no block but its first, which cannot be copied, and "
                f"{target.name} needs {len(other.others)} more: take the ticket of a deeper network"
            )
        copies = copied_blocks(len(one.others), len(other.others), order)
        numbers.append((0, *(i + 1 for i in copies)))
        for new_block, old_block in [
            (other.first, one.first),
            *zip(other.others, (one.others[i] for i in copies), strict=True),
        ]:
            modules |= zip(new_block, old_block, strict=True)
    return BlockMap(tuple(numbers), modules)


def change_depth(ticket: Ticket, name: str, order: Order = "append") -> Ticket:
    """The weights, mask, BatchNorms and statistics of a ticket on a network of its family and another depth.

    name: of the network, such as "resnet32", at the width of the ticket's.
    order: in which copies of blocks follow each other.

    The new ticket's record has the hash of the old one, the order and the map; its cost is that of the search
    that found the old one. Raises InputError for another family or width, with the first tensor that the map
    leaves unwritten.
    """
    if name == ticket.model.name:
        return ticket
    if ":" in ticket.model.name:
        raise InputError(
            f"the blocks of {ticket.model.name} are not known, so its ticket has one depth alone"
        )
    ticket.mask.check_canonical("a network of another depth")
    target = replace(ticket.model, name=name)
    block_map = map_blocks(ticket.model, target, order)
    net = _skeleton(target)
    sources = {tensor: block_map.source_of(tensor) for tensor in net.state_dict()}
    for tensor, value in net.state_dict().items():
        source = ticket.init.get(sources[tensor])
        if source is None or source.shape != value.shape:
            reason = "has no such tensor" if source is None else f"has one of {tuple(source.shape)}"
            raise InputError(
                f"{tensor} of {name} {tuple(value.shape)} would stay unwritten, as {ticket.model.name} "
                f"{reason}: choose a network that differs in depth alone"
            )
    mask = Mask({tensor: ticket.mask[s].clone() for tensor, s in sources.items() if s in ticket.mask})
    mask.check_fits(net)
    record = {
        "source": ticket.hash,
        "network": ticket.model.name,
        "order": order,
        "blocks": [list(stage) for stage in block_map.numbers],
    }
    init = {tensor: ticket.init[source].clone() for tensor, source in sources.items()}
    return replace(ticket, model=target, init=init, mask=mask, copies=(*ticket.copies, record))


def copied_modules(ticket: Ticket) -> list[str]:
    """The names of the modules of a ticket's network that its last change of depth put there once more."""
    if not ticket.copies:
        return []
    modules: list[str] = []
    stages = find_stages(_skeleton(ticket.model))
    for stage, numbers in zip(stages, ticket.copies[-1]["blocks"], strict=True):
        for place, block in enumerate((stage.first, *stage.others)):
            if numbers[place] in numbers[:place]:
                modules += block
    return modules


def check_direction(source: ModelSpec, target: ModelSpec, *, deeper: bool) -> None:
    """Raise InputError where the target is not the deeper, or not the shallower, of two networks."""
    counts = [sum(len(stage.others) for stage in find_stages(_skeleton(spec))) for spec in (source, target)]
    if counts[0] == counts[1]:
        raise InputError(f"the ticket is of {source.name} already: choose another depth by --to")
    if (counts[1] > counts[0]) is not deeper:
        word, other = ("shallower", "squeeze") if deeper else ("deeper", "stretch")
        raise InputError(f"{target.name} is {word} than {source.name}: use `ticket {other}`")


def describe_change(source: Ticket, target: Ticket) -> str:
    """A text on what a change of depth did: the blocks of each stage, and the densities before and after."""
    blocks = target.copies[-1]["blocks"]
    lines = [f"stage {number}: blocks {' '.join(map(str, stage))}" for number, stage in enumerate(blocks, 1)]
    before, after = source.mask, target.mask
    densities = (
        f"{source.model.name} keeps {before.count:,} of {before.size:,} weights ({before.density:.2%}), "
        f"{target.model.name} {after.count:,} of {after.size:,} ({after.density:.2%})"
    )
    return "\n".join([*lines, densities])


def _skeleton(spec: ModelSpec) -> nn.Module:
    """The network without weights: names and shapes alone."""
    with torch.device("meta"):
        return build(spec, seed=0)
