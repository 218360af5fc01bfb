"""Scores of weights: those of lowest score are pruned."""

from collections.abc import Callable, Mapping

from torch import Tensor

from robust_tickets.pruning.mask import Mask

Weights = Mapping[str, Tensor]


def magnitude(weights: Weights, mask: Mask) -> dict[str, Tensor]:
    """The absolute value of each weight (Han et al. 2015; Frankle & Carbin 2019)."""
    return {name: weight.detach().abs().cpu() for name, weight in weights.items()}


def magnitude_over_layer_mean(weights: Weights, mask: Mask) -> dict[str, Tensor]:
    """The absolute value over the mean absolute value of the weights that the mask keeps in the layer.

    The score of the code released with Li et al. 2020 (arXiv 2003.05733). It keeps one global threshold from
    emptying the layers whose weights are small. A layer of zeros scores zero.
    """
    scores = {}
    for name, weight in magnitude(weights, mask).items():
        unpruned = weight[mask[name]]
        mean = float(unpruned.mean()) if unpruned.numel() else 0.0
        scores[name] = weight / mean if mean > 0 else weight
    return scores


SCORES: dict[str, Callable[[Weights, Mask], dict[str, Tensor]]] = {
    "magnitude": magnitude,
    "magnitude-over-layer-mean": magnitude_over_layer_mean,
}
"""Scores by the names of `search.criterion`."""
