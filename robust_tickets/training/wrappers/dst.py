"""Dynamic sparse training: the mask moves while the network is trained under it."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from robust_tickets.base.errors import InputError
from robust_tickets.base.lazy import torch
from robust_tickets.base.random_streams import growth_generator
from robust_tickets.recipe.schema import CountOrZero, ShareOrZero
from robust_tickets.training.methods.base import Batch, Method, Networks, Step, steps_before
from robust_tickets.training.wrappers.base import Wrapper

if TYPE_CHECKING:
    from torch import Tensor

    from robust_tickets.pruning.masking import Masking
    from robust_tickets.recipe.field_names import FieldNames

_INTERVAL, _CHANGES = 100, 10  # steps between changes, as RigL has them, and changes of a short schedule
_MASK = "mask."
"""Begins the names of masks in the state."""


@dataclass(frozen=True)
class DSTSettings:
    """Dynamic sparse training over any method: some weights are pruned, as many others grow."""

    share: ShareOrZero = 0.0
    """share of each layer's kept weights that the first change moves, such as 0.3; it falls to 0 along half a
    cosine; 0: the mask stays"""
    grow: Literal["gradient", "random"] = "gradient"
    """weights that grow: those of the largest gradients, in steps that change nothing else (RigL); or random
    ones (SET, Flying Bird)"""
    interval: CountOrZero = 0
    """steps between changes; 0: 100, or in a short schedule as many as leave room for ten changes"""
    end: ShareOrZero = 0.75
    """share of the steps after which the mask stays; 0: it moves to the end"""


class DST(Wrapper):
    """The method under a mask that moves: every so many steps each layer swaps weights, k at step t of T:

        k = floor(share / 2 (1 + cos(pi t / (end T))) n),   n: the weights that the layer keeps
        prune the k smallest |w|;  grow k of those that are then pruned

    Mocanu et al. 2018 (SET) and Chen et al. 2022, "Sparsity Winning Twice" (Flying Bird), grow random
    weights. Evci et al. 2020 (RigL) grow those of the largest |dL/dw|, the just pruned among them, and take
    no step of the optimiser there. Weights grow from 0, without momentum; those that are pruned and grown at
    once stay as they were. Each layer keeps its count at every step. Equal ones are told apart by position.
    """

    Settings = DSTSettings
    settings: DSTSettings
    switch = "share"
    in_search = False

    def __init__(self, settings: DSTSettings, inner: Method) -> None:
        super().__init__(settings, inner)
        self._masks: dict[str, Tensor] = {}  # once they have moved

    def begin(self, masking: "Masking | None") -> None:
        """Give a resumed training the masks that it had. Raises InputError for a whole network."""
        if masking is None:
            raise InputError(
                "dst moves a mask, and the network is whole: train a ticket, or one of the arms set, rigl "
                "and flying-bird, or leave dst.share out"
            )
        self._masking = masking
        if self._masks:
            masking.move(self._masks)
        self.inner.begin(masking)

    def after_backward(self, nets: Networks, batch: Batch) -> None:
        """Move the mask where that is due."""
        self.inner.after_backward(nets, batch)
        share = self._share(batch.step)
        if not share:
            return
        masking = self._masking
        generator = growth_generator(batch.seed, batch.step.number)
        by_gradient = self.settings.grow == "gradient"
        with torch.no_grad():
            for name, (weight, kept) in masking.weights.items():
                gradient = weight.grad if weight.grad is not None else torch.zeros_like(weight)
                scores = gradient.abs() if by_gradient else _random_like(weight, generator)
                self._masks[name] = swapped(weight, kept != 0, share, scores)
        masking.move(self._masks)
        if by_gradient:
            for parameter in nets.net.parameters():
                parameter.grad = None  # which optimisers pass over

    def _share(self, step: Step) -> float:
        """The share of weights that move in a step; 0: none does."""
        end = self._end(step.count)
        if step.number == 0 or step.number % self._interval(step.count) or step.number >= end:
            return 0.0
        return self.settings.share / 2 * (1 + math.cos(math.pi * step.number / end))

    def _end(self, count: int) -> int:
        """The step of a schedule of so many from which on the mask stays."""
        return steps_before(self.settings.end, count) if self.settings.end else count

    def _interval(self, count: int) -> int:
        return self.settings.interval or max(1, min(_INTERVAL, (self._end(count) - 1) // _CHANGES))

    def check_length(self, names: "FieldNames", count: int) -> None:
        """Raise InputError for a schedule in which the mask would never move."""
        super().check_length(names, count)
        last = self._end(count) - 1
        if self._interval(count) > last:
            raise InputError(
                f"{names('dst.interval')} {self._interval(count)} leaves the mask as it is in a schedule of "
                f"{count} step{'s' * (count != 1)}: "
                + (f"give at most {last}, or" if last > 0 else "choose")
                + " a longer schedule or budget"
            )

    @property
    def moves_mask(self) -> bool:
        return True

    def state_dict(self) -> "dict[str, Tensor]":
        """The inner method's state and the masks, once they have moved."""
        return super().state_dict() | {_MASK + name: mask for name, mask in self._masks.items()}

    def load_state_dict(self, state: "dict[str, Tensor]") -> None:
        self._masks = {n.removeprefix(_MASK): mask for n, mask in state.items() if n.startswith(_MASK)}
        super().load_state_dict({n: value for n, value in state.items() if not n.startswith(_MASK)})


def swapped(weight: "Tensor", kept: "Tensor", share: float, scores: "Tensor") -> "Tensor":
    """The mask of a layer after a change.

    weight: its weights.
    kept: bool, its mask so far.
    share: of the kept weights, rounded down, that are pruned: the smallest. As many grow.
    scores: of all weights; of those that are not kept, the largest grow.
    """
    entries = kept.flatten().clone()
    count = int(share * int(entries.sum()))
    if not count or bool(entries.all()):
        return kept
    smallest = weight.flatten().abs().masked_fill(~entries, math.inf)
    entries[torch.sort(smallest, stable=True).indices[:count]] = False
    largest = scores.flatten().masked_fill(entries, -math.inf)
    entries[torch.sort(largest, descending=True, stable=True).indices[:count]] = True
    return entries.reshape(kept.shape)


def _random_like(weight: "Tensor", generator: "torch.Generator") -> "Tensor":
    """Random scores of a layer's weights, the same on every device."""
    return torch.rand(weight.shape, generator=generator).to(weight.device)
