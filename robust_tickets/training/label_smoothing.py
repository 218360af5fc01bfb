"""Smoothed labels for the update; attacks keep the hard ones.

With smoothed labels in a one-step attack, the sign of its step is that of t_y - p_y: a sample whose p_y
exceeds its smoothed target would be moved the wrong way.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from robust_tickets.attacks.noise import uniform
from robust_tickets.recipe.training_fields import Training

_STREAM = 2**32 - 1  # apart from the random numbers of any attack


def smoothed_labels(settings: Training, labels: Tensor, ids: Tensor, classes: int, seed: int) -> Tensor:
    """Targets that sum to 1, float32 (B, classes).

    labels, ids: int64 (B,).
    seed: of the epoch; with "random" each sample's numbers belong to its id and the seed.

    A share a = `label_smoothing` is taken from the label. "uniform" spreads it evenly over all classes, the
    label's among them (Szegedy et al. 2016, section 7); "random" spreads it over the other classes in the
    ratio of uniform random numbers (Pan et al. 2025).
    """
    share, hard = settings.label_smoothing, F.one_hot(labels, classes).float()
    if settings.smoothing == "uniform" or classes == 1:
        return hard * (1 - share) + share / classes
    numbers = uniform((classes,), ids, seed=seed, stream=_STREAM).to(hard)
    others = (numbers + torch.finfo(numbers.dtype).tiny) * (1 - hard)
    return hard * (1 - share) + others * (share / others.sum(1, keepdim=True))
