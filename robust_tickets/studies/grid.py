"""The cells of a study, checked."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import Spec
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.stages import plan
from robust_tickets.stages.budgets import Rates, UnknownRates
from robust_tickets.studies.base import Cell, Study


def make_cells(study: Study, base: Recipe) -> list[Cell]:
    """The cells of a study. Raises InputError where the question, or a cell, makes no sense."""
    if study.figure == "early" and not base.evaluate.early_epochs:
        raise InputError(
            f"study {study.name}: it is about the first epochs: set evaluate.early_epochs to at least 1"
        )
    for reason in (need(base) for need in study.needs):
        if reason:
            raise InputError(f"study {study.name}: {reason}")
    try:
        cells = list(study.cells(_judged_by_pair(base), study.settings(base)))
    except InputError as error:
        raise InputError(f"study {study.name}: {error}") from None
    for cell in cells:
        try:
            for recipe in cell.recipes:
                recipes.check(recipe, base)
        except InputError as error:
            message = name_setting(study, str(error))
            raise InputError(f"study {study.name}, setting {cell.setting}: {message}") from None
    field = f"study.{study.field}"
    if len({cell.setting for cell in cells}) < len(cells):
        raise InputError(f"{field} names a setting twice: leave one out")
    if len(cells) < study.least_settings:
        raise InputError(
            f"{field} has one setting, {cells[0].setting}, and settings are compared with each other: add one"
        )
    return cells


def _judged_by_pair(base: Recipe) -> Recipe:
    """The recipe without FAB-T and Square, on which no verdict of a study rests."""
    if not base.evaluate.aa_images:
        return base
    return replace(base, evaluate=replace(base.evaluate, aa_whole="off"))


def name_setting(study: Study, message: str) -> str:
    """A message about a cell, with the study's own field in place of the one that its settings set."""
    if not study.varies:
        return message
    whole_name = rf"(?<![\w.]){re.escape(study.varies)}(?![\w.-]*[\w-])"
    return re.sub(whole_name, f"study.{study.field}", message)


def check_lengths(
    study: Study,
    cells: Sequence[Cell],
    spec: Spec,
    rates: Callable[[Recipe, str], Rates] = lambda recipe, arm: UnknownRates(),
) -> None:
    """Raise InputError for an arm that is shorter than the first epochs that a study looks at.

    rates: of the network of an arm of a recipe, for budgets.
    """
    for cell in cells if study.figure == "early" else ():
        early = cell.recipe.evaluate.early_epochs
        for arm in cell.recipe.compare.trained:
            epochs = plan.plan(cell.recipe, arm, spec, rates=rates(cell.recipe, arm)).epochs
            if epochs < early:
                raise InputError(
                    f"study {study.name}, setting {cell.setting}: it is about the first {early} epochs "
                    f"(evaluate.early_epochs), but {arm} is trained for {epochs:.4g}: lower that, or train "
                    "for longer"
                )
