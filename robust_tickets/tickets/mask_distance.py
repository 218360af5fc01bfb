"""When a search's mask has formed: Early-Bird's criterion, on a distance that knows nothing of density."""

from collections import deque
from collections.abc import Callable
from typing import Any

from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.mask import Mask
from robust_tickets.tickets.methods.base import QUEUE


def jaccard_distance(one: Mask, other: Mask) -> float:
    """1 - |A and B| / |A or B| of the weights kept: 0 for equal masks, 1 for disjoint ones.

    The Hamming distance of the Early-Bird papers is small for any two sparse masks; this one is not.
    """
    both = sum(int((kept & other[name]).sum()) for name, kept in one.items())
    either = sum(int((kept | other[name]).sum()) for name, kept in one.items())
    return 1 - both / either if either else 0.0


class MaskConvergence:
    """Compares, after each epoch, the mask that would be cut now with those of the last epochs.

    `cut` gives that mask, which removes from `mask`. Enough is done when it lies closer than `threshold` to
    each of the last four; 0 means never.
    """

    def __init__(self, mask: Mask, cut: Callable[[], Mask], threshold: float) -> None:
        self._shapes = {name: kept.shape for name, kept in mask.items()}
        self._cut = cut
        self._threshold = threshold
        self._last: deque[Mask] = deque(maxlen=QUEUE)

    def __call__(self) -> tuple[dict[str, Any], bool]:
        """`mask_distances`: to the masks one, two, three and four epochs ago; and whether that is enough."""
        try:
            mask = self._cut()
        except InputError:  # it would empty a layer now: by the end of the round it need not
            self._last.clear()
            return {"mask_distances": []}, False
        distances = [jaccard_distance(mask, earlier) for earlier in reversed(self._last)]
        self._last.append(mask)
        return {"mask_distances": distances}, has_converged(distances, self._threshold)

    def state_dict(self) -> dict[str, Tensor]:
        """The last masks, packed."""
        return {
            f"{number}/{name}": bits
            for number, mask in enumerate(self._last)
            for name, bits in mask.pack().items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Remember what `state_dict` gave. Raises InputError where that is of another network."""
        self._last.clear()
        try:
            for number in range(len(state) // len(self._shapes)):
                bits = {name: state[f"{number}/{name}"] for name in self._shapes}
                self._last.append(Mask.unpack(bits, self._shapes))
        except KeyError as error:
            raise InputError(f"the training state has no mask of {error}") from None


def has_converged(distances: list[float], threshold: float) -> bool:
    """Whether a mask with these distances to its last predecessors has formed."""
    return len(distances) == QUEUE and max(distances) < threshold
