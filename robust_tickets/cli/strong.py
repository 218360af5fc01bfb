"""The command `strong`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from robust_tickets.base import signals
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import stderr_progress
from robust_tickets.cli.command import Command, Seed, command
from robust_tickets.cli.input_file import InputFile
from robust_tickets.cli.user_net import UserNet
from robust_tickets.recipe.schema import CountOrZero, Range


@command
class Strong(Command):
    """Rebuild a trained network inside random ones by pruning alone, with a bound on the error.

    Each weight becomes a sum of random numbers (Pensia et al. 2020); nothing is trained. Where the bound is
    smaller than the margin, the robustness of the trained network is proven to be kept.
    """

    checkpoint: Positional[InputFile]
    """a best.safetensors or last.safetensors, or its address, of linear layers with ReLU between them, as
    lenet-300-100"""
    candidates: Annotated[tuple[Annotated[int, Range(least=1, most=64)], ...], arg(metavar="N...")] = (
        *(16, 24, 32, 40, 48),
    )
    """random neurons an input of each layer, at most 64, a row each; those of a positive weight can be used,
    about half of them, at most 28"""
    limit: CountOrZero = 0
    """how many test images, balanced over the classes; 0: all"""
    seed: Seed = 0
    """seed of the random networks"""
    save: Annotated[Path | None, arg(metavar="DIR")] = None
    """folder for the random networks, their masks included: N.safetensors for each of --candidates"""
    model: UserNet = UserNet()

    def run(self) -> None:
        """Print the table and its file."""
        with signals.deferred():
            from robust_tickets.comparison.strong import rebuild_checkpoint

        machine, make = Machine("cpu", stderr_progress()), self.model.factory()
        result = rebuild_checkpoint(
            self.checkpoint.path, self.candidates, self.limit, self.seed, machine, make, self.save
        )
        print(result.text)
        print(f"\n{result.table}")
