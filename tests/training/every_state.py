"""A checkpointer for tests: it keeps every state that a training could save."""

import copy
from dataclasses import dataclass, field
from typing import Any

from robust_tickets.training.checkpointer import Checkpointer


@dataclass
class EveryState(Checkpointer):
    """Keeps all states in memory, with the identity of the training that each belongs to."""

    states: list[dict[str, Any]] = field(default_factory=list)
    identities: list[dict[str, Any]] = field(default_factory=list)

    def due(self, step: int) -> bool:
        """Always."""
        return True

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Keep a copy."""
        self.states.append(copy.deepcopy(state))
        self.identities.append(self.identity)
