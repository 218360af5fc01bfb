"""The commands on recipes: their list, and one of them."""

from typing import Annotated

from tyro.conf import Positional, arg

from robust_tickets.cli.command import Command, command
from robust_tickets.recipe.recipe import load, read_text, shipped_names, to_toml


@command
class Recipes(Command):
    """List the shipped recipes."""

    def run(self) -> None:
        """Print a line a recipe."""
        for name in shipped_names():
            print(f"{name:<24} {load(name).summary}")


@command
class RecipesShow(Command):
    """Show a recipe as it is written, to read or to change: its fields that are not the defaults, and why."""

    recipe: Annotated[Positional[str], arg(metavar="NAME|FILE")]
    """a shipped recipe, or a TOML file"""
    resolved: bool = False
    """every field that the run uses, defaults included, as its run directory records them"""

    def run(self) -> None:
        """Print the recipe as TOML."""
        recipe = load(self.recipe)  # which a recipe with a mistake does not pass
        print((to_toml(recipe) if self.resolved else read_text(self.recipe)).rstrip())
