"""Where a computation stands between two of its steps, so that one that was stopped goes on from there."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

State = dict[str, Any]
"""What a level must know to be where it is: tensors and plain values, by name."""


class Bookmark:
    """Where a computation stands, level within level: an ensemble, a restart of one of its attacks, a step.

    kept: the states of the levels, outermost first, as `offer` had them of the same computation earlier; it
    then goes on from there, on a copy. offer: called between two steps with a function that gives the states
    as they are; what is in them is what the computation works on, so that a copy must be made at once.
    device: where the tensors of what was kept go; None: where they are.

        taken = []
        attack.run(net, images, labels, mark=Bookmark(offer=lambda states: taken.append(deepcopy(states()))))
        attack.run(net, images, labels, mark=Bookmark(taken[7]))  # the same result, in fewer steps
    """

    def __init__(
        self,
        kept: Sequence[State] = (),
        offer: Callable[[Callable[[], list[State]]], None] = lambda states: None,
        device: torch.device | str | None = None,
    ) -> None:
        self._kept = [
            {k: v.to(device, copy=True) if isinstance(v, Tensor) else v for k, v in state.items()}
            for state in kept
        ]
        self._offer = offer
        self._levels: list[Callable[[], State]] = []

    @contextmanager
    def level(self, now: Callable[[], State]) -> Iterator[State | None]:
        """A level, for the length of a `with` block: gives its state that was kept, if there is one.

        now: gives its state at any time within the block, and what one looks like before it. What does not
        look like that is not taken, nor what was kept of the levels within.
        """
        kept = self._kept.pop(0) if self._kept else None
        if kept is not None and _form(kept) != _form(now()):
            self.forget()
            kept = None
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


def _form(state: State) -> dict[str, object]:
    """How many dimensions each tensor of a state has, and the type of each other value."""
    return {k: v.ndim if isinstance(v, Tensor) else type(v) for k, v in state.items()}
