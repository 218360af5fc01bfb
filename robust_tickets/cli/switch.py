"""The command `switch`."""

from typing import Annotated

from tyro.conf import Positional, arg

from robust_tickets.base import signals
from robust_tickets.cli.command import Command, OnDevice, Seed, command
from robust_tickets.cli.input_file import InputFile
from robust_tickets.cli.user_net import UserNet
from robust_tickets.recipe.schema import CountOrZero


@command
class Switch(OnDevice, Command):
    """Evaluate a randomised network: one of several checkpoints is drawn for each image.

    Attacks are run on each network and on their average (EOT), as an adversary would who knows all networks
    but not the draw (Fu et al. 2021 switch between robust scratch tickets). The table is written beside the
    first checkpoint.
    """

    checkpoints: Positional[Annotated[tuple[InputFile, ...], arg(metavar="CHECKPOINT...")]]
    """two or more checkpoints of one data set, or their addresses; images and threat model are those of the
    first"""
    attacks: Annotated[tuple[str, ...], arg(metavar="ATTACK...")] = ("pgd-20",)
    """attacks, and sets of them, as for evaluate"""
    limit: CountOrZero = 0
    """how many test images, balanced over the classes; 0: all"""
    seed: Seed = 0
    """seed of the attacks' random numbers"""
    model: UserNet = UserNet()

    def run(self) -> None:
        """Print the table and its file."""
        with signals.deferred():
            from robust_tickets.comparison.switch import evaluate_switch

        make, paths = self.model.factory(), [file.path for file in self.checkpoints]
        result = evaluate_switch(paths, self.attacks, self.limit, self.seed, self.machine, make)
        print(result.text)
        print(f"\n{result.table}")
