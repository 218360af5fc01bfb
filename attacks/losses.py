"""The losses that attacks maximise: one value a sample, so that no sample depends on its batch.

Each takes logits (N, K) and labels int64 (N,), and gives (N,).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import InputError

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy."""
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The best wrong logit minus the right one, positive where the sample is misclassified.

    Carlini & Wagner 2017, "Towards Evaluating the Robustness of Neural Networks", f6 with the sign changed.
    """
    return _best_wrong(logits, labels) - _at(logits, labels)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """The difference of logits ratio, which does not change where all logits are shifted or scaled.

    The margin over the difference of the largest and the third largest logit (Croce & Hein 2020, "Reliable
    evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks", equation 6).
    Needs 3 classes.
    """
    order = _largest(logits, 3, "dlr")
    return margin(logits, labels) / (order[:, 0] - order[:, 2] + _TINY)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """The difference of logits ratio towards targets, int64 (N,) (Croce & Hein 2020, equation 7).

    Needs 4 classes.
    """
    order = _largest(logits, 4, "targeted dlr")
    spread = order[:, 0] - (order[:, 2] + order[:, 3]) / 2
    return (_at(logits, targets) - _at(logits, labels)) / (spread + _TINY)


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin, "dlr": dlr}
"""The losses by the names that attacks take."""

LEAST_CLASSES = {"dlr": 3}
"""How many classes a loss needs, where that is more than 2."""

_TINY = 1e-12


def loss_named(name: str) -> Loss:
    """The loss of that name. Raises ValueError for another."""
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}: known: {', '.join(LOSSES)}")
    return LOSSES[name]


def _at(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]


def _best_wrong(logits: Tensor, labels: Tensor) -> Tensor:
    right = F.one_hot(labels, logits.shape[1]).bool()
    best: Tensor = logits.masked_fill(right, -torch.inf).amax(1)
    return best


def _largest(logits: Tensor, k: int, loss: str) -> Tensor:
    if logits.shape[1] < k:
        raise InputError(
            f"the loss {loss} needs {k} classes, the network has {logits.shape[1]}: use loss 'ce'"
        )
    return logits.topk(k, dim=1).values
