"""The stages: search, train, evaluate. Each asks whether its artefact is there, and else makes it, whole."""

from robust_tickets.stages.evaluate import Evaluated, evaluate, evaluate_file
from robust_tickets.stages.experiment import Experiment, narrowed, other_init, searched, unpruned_ticket
from robust_tickets.stages.judge import Asked
from robust_tickets.stages.named import Named, Source, SourceNamed
from robust_tickets.stages.place import Machine
from robust_tickets.stages.robustness import pretty
from robust_tickets.stages.saves import Every
from robust_tickets.stages.search import FOUND, search
from robust_tickets.stages.train import train

__all__ = [
    "FOUND",
    "Asked",
    "Evaluated",
    "Every",
    "Experiment",
    "Machine",
    "Named",
    "Source",
    "SourceNamed",
    "evaluate",
    "evaluate_file",
    "narrowed",
    "other_init",
    "pretty",
    "search",
    "searched",
    "train",
    "unpruned_ticket",
]
