"""Where a computation stands between two of its steps, so that one that was stopped goes on from there."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

State = dict[str, Any]
"""What a level must know to be where it is: tensors and plain values, by name."""


class Bookmark:
    """Where a computation stands, level within level: an ensemble, a restart of one of its attacks, a step.

    kept: the states of the levels, outermost first, as `offer` had them of the same computation earlier; it
    then goes on from there. offer: called between two steps with a function that gives the states as they
    are; what is in them is what the computation works on, so that a copy must be made at once.

        taken = []
        attack.run(net, images, labels, mark=Bookmark(offer=lambda states: taken.append(deepcopy(states()))))
        attack.run(net, images, labels, mark=Bookmark(taken[7]))  # the same result, in fewer steps
    """

    def __init__(
        self,
        kept: Sequence[State] = (),
        offer: Callable[[Callable[[], list[State]]], None] = lambda states: None,
    ) -> None:
        self._kept = list(kept)
        self._offer = offer
        self._levels: list[Callable[[], State]] = []

    @contextmanager
    def level(self, now: Callable[[], State]) -> Iterator[State | None]:
        """A level, for the length of a `with` block: gives its state that was kept, if there is one.

        now: gives its state at any time within the block.
        """
        kept = self._kept.pop(0) if self._kept else None
        self._levels.append(now)
        try:
            yield kept
        finally:
            self._levels.pop()

    def offer(self) -> None:
        """Between two steps of the innermost level: the moment to keep the states, or to stop."""
        self._offer(lambda: [now() for now in self._levels])

    def forget(self) -> None:
        """Begin the levels within this one anew: what was kept is of something else."""
        self._kept.clear()
