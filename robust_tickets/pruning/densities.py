"""Layer densities of random masks."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from robust_tickets.base.errors import InputError
from robust_tickets.base.random_streams import mask_generator
from robust_tickets.pruning.mask import Mask

Shape = Sequence[int]


DENSITIES: dict[str, Callable[[Shape], float]] = {
    "uniform": lambda shape: 1.0,
    # (in + out) / (in * out): Mocanu et al. 2018, equation 1
    "er": lambda shape: (shape[0] + shape[1]) / (shape[0] * shape[1]),
    # (in + out + h + w) / (in * out * h * w), with the kernel's sides: Evci et al. 2020, section 3
    "erk": lambda shape: sum(shape) / math.prod(shape),
}
"""A function of a weight's shape (out, in, ...) to which the layer's density is proportional, by name."""


def layer_counts(shapes: Mapping[str, Shape], count: int, kind: str) -> dict[str, int]:
    """How many weights each layer keeps, `count` in all.

    Densities are proportional to `DENSITIES[kind]`; where that is more than a layer has, the layer stays
    whole and the others share the rest (Evci et al. 2020). Fractions are rounded by largest remainder, ties
    broken by position. Raises InputError where a layer would keep nothing.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    raw = {name: DENSITIES[kind](shape) * sizes[name] for name, shape in shapes.items()}
    whole: set[str] = set()
    while True:
        rest = [name for name in shapes if name not in whole]
        left = count - sum(sizes[name] for name in whole)
        factor = left / sum(raw[name] for name in rest) if rest else 0.0
        full = {name for name in rest if factor * raw[name] >= sizes[name]}
        if not full:
            break
        whole |= full
    exact = {name: sizes[name] if name in whole else factor * raw[name] for name in shapes}
    counts = {name: math.floor(x) for name, x in exact.items()}
    by_remainder = sorted(rest, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: count - sum(counts.values())]:
        counts[name] += 1
    for name in counts:
        if counts[name] == 0:
            raise InputError(
                f"densities {kind} leave nothing of {name}: of its {sizes[name]} weights a share of "
                f"{exact[name] / sizes[name]:.2g} is less than one; lower search.ratio, choose other "
                f"search.random.densities, or leave the layer out by search.ignored_layers {name}"
            )
    return counts


def random_mask(full: Mask, ratio: float, kind: str, seed: int, ignored: frozenset[str]) -> Mask:
    """A mask that removes a share of the weights at positions drawn from the seed.

    full: the mask in which nothing is pruned.
    ratio: share of the weights to remove, those of the `ignored` layers not counted; these stay whole.
    kind: name of the layers' densities.

    Raises InputError as `layer_counts` does.
    """
    shapes = {name: tuple(full[name].shape) for name in full if name not in ignored}
    total = sum(map(math.prod, shapes.values()))
    counts = layer_counts(shapes, total - round(ratio * total), kind)
    generator = mask_generator(seed)
    entries = dict(full.items())
    for name, count in counts.items():
        order = torch.randperm(full[name].numel(), generator=generator)
        entries[name] = (order < count).reshape(full[name].shape)
    return Mask(entries)
