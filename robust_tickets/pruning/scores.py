"""Scores of weights, on their device: those of lowest score are pruned."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from robust_tickets.pruning.mask import Mask

Weights = Mapping[str, Tensor]


def magnitude(weights: Weights, mask: Mask) -> dict[str, Tensor]:
    """The absolute value of each weight (Han et al. 2015; Frankle & Carbin 2019)."""
    return {name: weight.detach().abs() for name, weight in weights.items()}


def magnitude_over_layer_mean(weights: Weights, mask: Mask) -> dict[str, Tensor]:
    """The absolute value over the mean absolute value of the weights that the mask keeps in the layer.

    The score of the code released with Li et al. 2020 (arXiv 2003.05733). It keeps one global threshold from
    emptying the layers whose weights are small. A layer of zeros scores zero.
    """
    scores = {}
    for name, weight in magnitude(weights, mask).items():
        mean = weight[mask[name].to(weight.device)].mean()  # NaN where none is kept
        scores[name] = weight / torch.where(mean > 0, mean, 1)
    return scores


SCORES: dict[str, Callable[[Weights, Mask], dict[str, Tensor]]] = {
    "magnitude": magnitude,
    "magnitude-over-layer-mean": magnitude_over_layer_mean,
}
"""Scores by the names of `search.criterion`."""
