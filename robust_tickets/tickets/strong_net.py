"""A trained network found inside a random one, by pruning alone.

Malach et al. 2020 (arXiv 2002.00585) prove that a random network twice as deep has a sub-network as near as
one likes; Pensia et al. 2020 (arXiv 2006.07990) that a width larger by a logarithm is enough, since a weight
is a sum of few random numbers (Lueker 1998). Here the sub-network is made: each input j of a layer has some
neurons of its own, and each output k adds up some of them,

    y_k = sum over the neurons i of j that k keeps:  v_ki relu(u_i x_j),

which is w_kj x_j for x_j >= 0, as of pixels and after a ReLU, where the sum of v_ki u_i is w_kj. The subset
of products is the one closest to the weight that there is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.relu_chain import Layer, Numbers
from robust_tickets.tickets.subset_sum import MOST, closest_subset

LARGEST = 0.5
"""What the largest weight of a layer is scaled to: near 1, products of few neurons do not add up to it."""

_MOST_WEIGHTS = 200_000_000
"""Weights of a random layer, at most, that are held in memory."""


@dataclass(frozen=True)
class RandomBlock:
    """Two layers of a random network that stand for one of the target's, pruned.

    first: random weights (neurons, inputs + 1), uniform in [-1, 1]; the last input is 1.
    second: the same (outputs, neurons).
    keeps_first, keeps_second: their masks.
    scale: what the outputs are multiplied by to be those of the target's layer.
    """

    first: Numbers
    second: Numbers
    keeps_first: np.ndarray
    keeps_second: np.ndarray
    scale: float

    @property
    def pruned(self) -> tuple[Numbers, Numbers]:
        """Both weights, pruned ones 0."""
        return self.first * self.keeps_first, self.second * self.keeps_second

    @property
    def weight(self) -> Numbers:
        """The weight (outputs, inputs + 1) that it stands for, its bias last, in the target's scale."""
        first, second = self.pruned
        weight: Numbers = self.scale * (second @ first.clip(min=0))
        return weight

    @property
    def size(self) -> int:
        """Number of random weights."""
        return self.first.size + self.second.size

    @property
    def count(self) -> int:
        """Number of weights that are kept."""
        return int(self.keeps_first.sum() + self.keeps_second.sum())


def rebuild(layer: Layer, candidates: int, generator: np.random.Generator) -> RandomBlock:
    """Two random layers, pruned to a linear layer whose inputs are not negative.

    candidates: random neurons an input; about half of them, those with a positive weight, can be used.
    generator: draws the weights, uniformly in [-1, 1].

    Raises InputError where the random layers do not fit into memory.
    """
    target = np.column_stack([layer.weight, layer.bias])
    outputs, inputs = target.shape
    neurons = inputs * candidates
    if neurons * (inputs + outputs) > _MOST_WEIGHTS:
        raise InputError(
            f"a random network with {candidates} candidates an input has {neurons * (inputs + outputs):,} "
            f"weights in one block, more than {_MOST_WEIGHTS:,}: ask for fewer candidates, or take a "
            "narrower network"
        )
    first = generator.uniform(-1, 1, (neurons, inputs))
    second = generator.uniform(-1, 1, (outputs, neurons))
    keeps_first, keeps_second = np.zeros(first.shape, bool), np.zeros(second.shape, bool)
    scale = float(np.abs(target).max()) / LARGEST or 1.0
    for j in range(inputs):
        own = np.arange(j * candidates, (j + 1) * candidates)
        useful = own[first[own, j] > 0][:MOST]
        for k in range(outputs):
            products = second[k, useful] * first[useful, j]
            keeps_second[k, useful] = closest_subset(products, target[k, j] / scale)
        keeps_first[useful, j] = keeps_second[:, useful].any(axis=0)
    return RandomBlock(first, second, keeps_first, keeps_second, scale)


def rebuild_all(layers: Sequence[Layer], candidates: int, seed: int) -> list[RandomBlock]:
    """A random network of two layers for each of the target's; arguments as `rebuild` has them."""
    generator = np.random.default_rng(seed)
    return [rebuild(layer, candidates, generator) for layer in layers]


def block_tensors(blocks: Sequence[RandomBlock]) -> dict[str, Tensor]:
    """All that makes the pruned random network, by name and the block's number (from 0).

    `first.<i>` and `second.<i>`: the random weights, float64; `keeps_first.<i>` and `keeps_second.<i>`: their
    masks, bool; `scale.<i>`: the block's factor.
    """
    tensors = {}
    for i, block in enumerate(blocks):
        for name in ("first", "second", "keeps_first", "keeps_second"):
            tensors[f"{name}.{i}"] = torch.from_numpy(np.ascontiguousarray(getattr(block, name)))
        tensors[f"scale.{i}"] = torch.tensor(block.scale, dtype=torch.float64)
    return tensors


class StrongNet(nn.Module):
    """The pruned random network, in float64.

    Its weights are the random ones or 0. A block's scale is put off to the next one's constant input, and to
    the logits at the end, since ReLU(a x) = a ReLU(x) for a > 0.
    """

    def __init__(self, blocks: Sequence[RandomBlock]) -> None:
        super().__init__()
        self.scales = [block.scale for block in blocks]
        for i, block in enumerate(blocks):
            for name, weight in zip(("first", "second"), block.pruned, strict=True):
                self.register_buffer(f"{name}{i}", torch.from_numpy(weight))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) float64 of images (N, C, H, W)."""
        x, scale = images.flatten(1).double(), 1.0
        for i, factor in enumerate(self.scales):
            if i:
                x = x.relu()
            constant = x.new_full((len(x), 1), 1 / scale)
            x = torch.cat([x, constant], 1) @ self.get_buffer(f"first{i}").T
            x = x.relu() @ self.get_buffer(f"second{i}").T
            scale *= factor
        return x * scale


class Bounds(NamedTuple):
    """What holds for every image of a ball, by interval arithmetic; one row an image.

    low, high: the target's logits (N, classes).
    error: how far those of the rebuilt network are from them, at most.
    """

    low: Numbers
    high: Numbers
    error: Numbers


def bounds(layers: Sequence[Layer], blocks: Sequence[RandomBlock], low: Numbers, high: Numbers) -> Bounds:
    """Bounds over all flat images between `low` and `high` (N, inputs), which lie in [0, 1].

    blocks: the rebuilt network's, one a layer; none: the target's alone.

    An error of a layer's input goes on with the absolute rebuilt weights, and each weight's own error adds
    itself times the largest input; ReLU makes no error larger. Rounding of both is counted in.
    """
    error = np.zeros_like(low)
    for i, layer in enumerate(layers):
        if blocks:
            error = _error_after(layer, blocks[i], high, error)
        up, down = np.maximum(layer.weight, 0), np.minimum(layer.weight, 0)
        low, high = low @ up.T + high @ down.T + layer.bias, high @ up.T + low @ down.T + layer.bias
        if i < len(layers) - 1:
            low, high = np.maximum(low, 0), np.maximum(high, 0)
    return Bounds(low, high, error)


def _error_after(layer: Layer, block: RandomBlock, largest: Numbers, error: Numbers) -> Numbers:
    """The largest error of a layer's outputs, from the largest inputs and their errors (N, in)."""
    rebuilt, sums = block.weight, _absolute_sums(block)
    weight, bias = rebuilt[:, :-1], rebuilt[:, -1]
    own = largest @ np.abs(weight - layer.weight).T + np.abs(bias - layer.bias)
    size = (largest + error) @ (sums[:, :-1] + np.abs(layer.weight)).T + sums[:, -1] + np.abs(layer.bias)
    rounding = 4 * sum(block.first.shape) * np.finfo(np.float64).eps * size
    return error @ np.abs(weight).T + own + rounding


def _absolute_sums(block: RandomBlock) -> Numbers:
    """The sums of the absolute products that make each weight, which its rounding is in proportion to."""
    first, second = block.pruned
    sums: Numbers = block.scale * (np.abs(second) @ np.abs(first))
    return sums
