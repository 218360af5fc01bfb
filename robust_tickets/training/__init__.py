"""Training: one loop, the methods that make its images, schedules, checkpoints."""

from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.loop import Fit, Fitted, fit
from robust_tickets.training.masked import masking_of
from robust_tickets.training.methods import UPDATE_PASSES, attack_passes, training_attack
from robust_tickets.training.monitors import DivergedError
from robust_tickets.training.published import normalisation, published
from robust_tickets.training.schedules import learning_rate
from robust_tickets.training.state import Offer, TrainingState

__all__ = [
    "UPDATE_PASSES",
    "Checkpoint",
    "DivergedError",
    "Fit",
    "Fitted",
    "Offer",
    "TrainingState",
    "attack_passes",
    "fit",
    "learning_rate",
    "masking_of",
    "normalisation",
    "published",
    "training_attack",
]
