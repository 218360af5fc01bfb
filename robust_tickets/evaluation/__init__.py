"""How robust a net is."""

from robust_tickets.evaluation.robustness import CLEAN, Row, attack_named, evaluate, worst_case

__all__ = ["CLEAN", "Row", "attack_named", "evaluate", "worst_case"]
