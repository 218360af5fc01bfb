"""Data sets as uint8 tensors in memory, and batches made from them on the device."""

from robust_tickets.data.batches import batches, floats, steps_per_epoch
from robust_tickets.data.dataset import SPECS, Dataset, Spec, Split, training_images
from robust_tickets.data.load import load
from robust_tickets.data.places import check_place
from robust_tickets.data.tensors import from_tensors

__all__ = [
    "SPECS",
    "Dataset",
    "Spec",
    "Split",
    "batches",
    "check_place",
    "floats",
    "from_tensors",
    "load",
    "steps_per_epoch",
    "training_images",
]
