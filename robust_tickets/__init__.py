"""robust-tickets: find boosting tickets, reuse them, and compare them honestly with dense training.

From Python: `images`, `find_ticket`, `train`, `evaluate`, `compare` and `study`; torch comes with the first
of them.
"""

from typing import TYPE_CHECKING, Any

from robust_tickets.base.version import __version__

if TYPE_CHECKING:
    from robust_tickets.api import (
        Trained,
        compare,
        evaluate,
        find_ticket,
        images,
        show_progress,
        study,
        train,
    )

__all__ = [
    "Trained",
    "__version__",
    "compare",
    "evaluate",
    "find_ticket",
    "images",
    "show_progress",
    "study",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from robust_tickets import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
