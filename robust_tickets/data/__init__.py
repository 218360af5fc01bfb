"""Data sets as uint8 tensors in memory, and batches made from them on the device."""

from robust_tickets.data.batches import batches, floats, steps_per_epoch
from robust_tickets.data.dataset import SPECS, Dataset, Spec, Split, test_images, training_images
from robust_tickets.data.load import check_place, load

__all__ = [
    "SPECS",
    "Dataset",
    "Spec",
    "Split",
    "batches",
    "check_place",
    "floats",
    "load",
    "steps_per_epoch",
    "test_images",
    "training_images",
]
