"""The command `ticket card`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from robust_tickets.base import signals
from robust_tickets.cli.command import Command, command
from robust_tickets.cli.input_file import InputFile


@command
class TicketCard(Command):
    """Write a model card for a ticket or a checkpoint, as the Hugging Face Hub reads it.

    It says what the file is, how it was found, what that cost, how to load it, and its limits. Where the file
    lies in the run directory that wrote it, it has the accuracies of the arms trained from the ticket, or of
    the checkpoint's arm, and of dense.
    """

    file: Positional[InputFile]
    """a ticket.safetensors, best.safetensors or last.safetensors, or its address"""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """file to write, README.md for the Hub; without it: NAME-card.md beside the file (of an address: in the
    current folder)"""
    licence: Annotated[str, arg(metavar="TEXT", aliases=["--license"])] = ""
    """the licence that you give the file, such as mit or cc-by-4.0; without it: the card says that none was
    given"""

    def run(self) -> None:
        """Print the card's file."""
        with signals.deferred():
            from robust_tickets.stages.model_card import write_card

        print(write_card(self.file.path, self.out, self.licence))
