"""How robust a net is."""

from robust_tickets.evaluation.robustness import Row, attack_named, evaluate, worst_case

__all__ = ["Row", "attack_named", "evaluate", "worst_case"]
