"""Natural training: no adversary."""

from typing import TYPE_CHECKING

from robust_tickets.training.methods.base import Batch, Networks
from robust_tickets.training.methods.cross_entropy import CrossEntropyMethod

if TYPE_CHECKING:
    from torch import Tensor


class Natural(CrossEntropyMethod):
    """The images as they are.

    min_w E CE(f_w(x), y)
    """

    def attack_steps(self) -> int:
        return 0

    def perturb(self, nets: Networks, batch: Batch) -> "Tensor":
        return batch.images
