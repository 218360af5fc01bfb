"""What an attack maximises: one value a sample, so that no sample feels its batch."""

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits (N, K) against labels (N,), one value a sample (N,)."""
    return F.cross_entropy(logits, labels, reduction="none")
