"""The early stop of a search's round: its mask no longer changes from epoch to epoch.

Early-Bird's criterion (You et al. 2020), on a distance that does not depend on density.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.mask import Mask
from robust_tickets.tickets.methods.base import QUEUE


def jaccard_distance(one: Mask, other: Mask) -> float:
    """1 - |A and B| / |A or B| of the kept weights: 0 for equal masks, 1 for disjoint ones.

    The Hamming distance of the Early-Bird papers is small for any two sparse masks; this one is not.
    """
    both = sum(int((entries & other[name]).sum()) for name, entries in one.items())
    either = sum(int((entries | other[name]).sum()) for name, entries in one.items())
    return 1 - both / either if either else 0.0


class MaskConvergence:
    """An epoch hook that compares the mask of an epoch with those of the last epochs.

    mask: the mask of the round.
    next_mask: gives the mask that the round would end with now.
    threshold: the training may end once the mask lies closer than this to each of the last four; 0: never.
    """

    def __init__(self, mask: Mask, next_mask: Callable[[], Mask], threshold: float) -> None:
        self._shapes = {name: entries.shape for name, entries in mask.items()}
        self._next_mask = next_mask
        self._threshold = threshold
        self._masks: deque[Mask] = deque(maxlen=QUEUE)

    def __call__(self) -> tuple[dict[str, Any], bool]:
        """`mask_distances`: to the masks one, two, three and four epochs ago; and whether to end."""
        try:
            mask = self._next_mask()
        except InputError:  # it would empty a layer now: by the end of the round it need not
            self._masks.clear()
            return {"mask_distances": []}, False
        distances = [jaccard_distance(mask, earlier) for earlier in reversed(self._masks)]
        self._masks.append(mask)
        converged = len(distances) == QUEUE and max(distances) < self._threshold
        return {"mask_distances": distances}, converged

    def state_dict(self) -> dict[str, Tensor]:
        """The last masks, packed."""
        return {
            f"{number}/{name}": bits
            for number, mask in enumerate(self._masks)
            for name, bits in mask.pack().items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict` gave. Raises InputError where that is of another network."""
        self._masks.clear()
        try:
            for number in range(len(state) // len(self._shapes)):
                bits = {name: state[f"{number}/{name}"] for name in self._shapes}
                self._masks.append(Mask.unpack(bits, self._shapes))
        except KeyError as error:
            raise InputError(f"the training state has no mask of {error}: remove it") from None
