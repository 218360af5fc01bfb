"""robust-tickets: find boosting tickets, reuse them, and compare them honestly with dense training.

From Python: `images`, `find_ticket`, `train`, `evaluate`, `compare`, `table`, `frontier` and `study`. For a
loop of one's own: `Ticket`, `Checkpoint`, `keep_sparse`, `attack_view`, `average_weights`, and the modules
`attacks` and `methods`. Torch is imported with the first that is used.
"""

from robust_tickets.base.version import __version__

TYPE_CHECKING = False  # as typing has it, whose import takes longer than all that the program needs at first

if TYPE_CHECKING:
    from robust_tickets import attacks
    from robust_tickets.api import (
        Checkpoint,
        Ticket,
        Trained,
        attack_view,
        average_weights,
        compare,
        evaluate,
        find_ticket,
        frontier,
        images,
        keep_sparse,
        show_progress,
        study,
        table,
        train,
    )
    from robust_tickets.training import methods_alone as methods

__all__ = [
    "Checkpoint",
    "Ticket",
    "Trained",
    "__version__",
    "attack_view",
    "attacks",
    "average_weights",
    "compare",
    "evaluate",
    "find_ticket",
    "frontier",
    "images",
    "keep_sparse",
    "methods",
    "show_progress",
    "study",
    "table",
    "train",
]


def __getattr__(name: str) -> object:
    modules = {"attacks": "robust_tickets.attacks", "methods": "robust_tickets.training.methods_alone"}
    if name in modules:
        import importlib

        return importlib.import_module(modules[name])
    if name in __all__:
        from robust_tickets import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
