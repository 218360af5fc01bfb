"""The command `data show`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from robust_tickets.base import signals
from robust_tickets.base.progress import stderr_progress
from robust_tickets.cli.command import Command, Seed, command
from robust_tickets.recipe.checks import check_data
from robust_tickets.recipe.fields import Data


@command
class DataShow(Command):
    """Show a data set as it is read: its parts, its classes with their labels, a picture of its images."""

    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """the picture (PNG) of training images beside their augmented copies; without it: data-<name>.png here"""
    seed: Seed = 0
    """seed of the augmentation"""
    data: Data = Data(val_images=1)  # a folder smaller than what trainings hold out is shown too

    def run(self) -> None:
        """Print the description, then the picture's file."""
        check_data(self.data)
        with signals.deferred():
            from robust_tickets.data import load as loading
            from robust_tickets.data.contact_sheet import describe_dataset, write_contact_sheet

        dataset = loading.load(self.data, stderr_progress().log)
        print(describe_dataset(dataset), flush=True)
        file = self.out or Path(f"data-{self.data.name}.png")
        print(f"\n{write_contact_sheet(dataset, file, self.seed)}")
