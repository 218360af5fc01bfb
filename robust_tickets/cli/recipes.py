"""The command `recipes`."""

from robust_tickets.cli.command import Command, command
from robust_tickets.recipe.recipe import load, shipped_names


@command
class Recipes(Command):
    """List the shipped recipes."""

    def run(self) -> None:
        """Print a line a recipe."""
        for name in shipped_names():
            print(f"{name:<24} {load(name).summary}")
