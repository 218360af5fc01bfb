"""Which methods and wrappers a recipe uses; settings of others are refused, since they would do nothing."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.arm_training import arm_trainings
from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.field_names import FieldNames
from robust_tickets.recipe.methods import METHODS, WRAPPERS, used_settings, wrapper_class
from robust_tickets.recipe.pruning_methods import PRUNING_METHODS
from robust_tickets.recipe.studies import pruning_methods_of_studies
from robust_tickets.recipe.training_fields import Training

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe

METHOD_FIELDS = (
    ("search", "method", METHODS),
    ("train", "method", METHODS),
    ("search", "pruning_method", PRUNING_METHODS),
)
"""The fields that choose a method, and the methods by name, each of which may have a table of settings."""


def check_unused_settings(recipe: "Recipe", base: "Recipe | None", of_studies: Collection[str] = ()) -> None:
    """Raise InputError for settings of a method or wrapper that is not chosen, since they would do nothing.

    base: the recipe that this one changes; what it has may stay. None: the recipe is a file's, which may have
        settings of other methods for a search where a study chooses those.
    of_studies: pruning methods that a study sets beside the recipe's own, whose settings may stay.
    """
    before = base or type(recipe)()
    for concern, field, methods in METHOD_FIELDS:
        if base is None and (concern, field) == ("search", "method"):
            continue
        fields = getattr(recipe, concern)
        chosen, used = getattr(fields, field), used_methods(recipe, concern, field)
        if field == "pruning_method":
            used |= pruning_methods_of_studies() if base is None else set(of_studies)
        for name in methods:
            settings = getattr(fields, name, None)
            if name not in used and settings != getattr(getattr(before, concern), name, None):
                raise InputError(
                    f"{concern}.{name} is for {concern}.{field} {name}, and does nothing to {chosen}: choose "
                    f"{name}, or leave it out"
                )
    for concern in ("search", "train"):
        unused = WRAPPERS.keys() - used_wrappers(recipe, concern)
        check_wrappers(FieldNames(concern), unused, getattr(recipe, concern), getattr(before, concern))


def check_wrappers(names: FieldNames, unused: Iterable[str], training: Training, base: Training) -> None:
    """Refuse settings of wrappers that are off; those that `base` has may stay."""
    for name in unused:
        cls, settings = wrapper_class(name), getattr(training, name, None)
        if settings is None:  # no search has it
            continue
        off = cls.Settings()
        rest = replace(getattr(base, name), **{cls.switch: getattr(off, cls.switch)})
        if settings not in (off, rest):
            raise InputError(
                f"{names(name)} does nothing without {names(name)}.{cls.switch}: give it too, or leave the "
                "other settings out"
            )


def used_wrappers(recipe: "Recipe", concern: str) -> set[str]:
    """The wrappers that are on in the recipe's search, or in any of its trainings."""
    trainings = [getattr(recipe, concern)]
    if concern == "train":
        trainings += arm_trainings(recipe).values()
        schedules = [ARMS[arm].schedule for arm in recipe.compare.arms]
        trainings += [schedule.settings(recipe) for schedule in schedules if schedule.settings]
    return {name for training in trainings for name in WRAPPERS.keys() & used_settings(training)}


def used_methods(recipe: "Recipe", concern: str, field: str) -> set[str]:
    """The methods that the recipe uses of those that a field chooses from."""
    used = {getattr(getattr(recipe, concern), field)}
    return used | {t.method for t in arm_trainings(recipe).values()} if concern == "train" else used
