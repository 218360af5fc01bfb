"""The settings that each arm of a recipe is trained with."""

from dataclasses import replace
from typing import TYPE_CHECKING

from robust_tickets.base.errors import InputError
from robust_tickets.recipe import schema
from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.methods import METHODS
from robust_tickets.recipe.training_fields import Train, Training

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe


def arm_training(recipe: "Recipe", arm: str) -> Train:
    """The settings that an arm is trained with: `[train]`, but for its method and its own tables.

    Raises InputError for a name after the plus that is neither a method nor a table, and for a wrong field.
    """
    variant, tables = arm.partition("+")[2], recipe.arms.tables
    training = recipe.train
    if variant in METHODS:
        training = replace(training, method=variant)
    elif variant and variant not in tables:
        raise InputError(
            f"compare.arms {arm}: {variant} is no training method ({', '.join(METHODS)}) and no table of the "
            f"recipe: add [arms.{variant}] with the fields that differ from [train]"
        )
    for name in filter(None, dict.fromkeys((variant, arm))):
        training = schema.read(Train, tables.get(name, {}), training, f"arms.{name}")
    return training


def arm_trainings(recipe: "Recipe") -> dict[str, Train]:
    """The settings of the recipe's arms that have others than `[train]`, by arm."""
    arms = [arm for arm in recipe.compare.arms if "+" in arm or arm in recipe.arms.tables]
    return {arm: arm_training(recipe, arm) for arm in arms}


def training_of(recipe: "Recipe", arm: str) -> Training:
    """The settings that an arm is trained with, after its first stage, where it has one."""
    settings = ARMS[arm].schedule.settings
    return settings(recipe) if settings else arm_training(recipe, arm)
