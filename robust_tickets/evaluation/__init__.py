"""How robust a net is, how sure that is, and whether it can be trusted."""

from robust_tickets.evaluation.battery import SAMPLES, sanity_checks, sanity_passes
from robust_tickets.evaluation.named import CLEAN, SETS, attack_named, attacks_named
from robust_tickets.evaluation.robustness import Judging, evaluate
from robust_tickets.evaluation.rows import Row, worst_case
from robust_tickets.evaluation.sanity import Check, Sanity, order_of_attacks, order_of_eps
from robust_tickets.evaluation.verdicts import Verdicts

__all__ = [
    "CLEAN",
    "SAMPLES",
    "SETS",
    "Check",
    "Judging",
    "Row",
    "Sanity",
    "Verdicts",
    "attack_named",
    "attacks_named",
    "evaluate",
    "order_of_attacks",
    "order_of_eps",
    "sanity_checks",
    "sanity_passes",
    "worst_case",
]
