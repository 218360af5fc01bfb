"""Recipes with other values of some fields, for one arm, as a tuning tries them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from robust_tickets.base.errors import InputError, unknown_name
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe import schema
from robust_tickets.recipe.arm_settings import ArmSettings
from robust_tickets.recipe.arms import is_arm, needs_ticket
from robust_tickets.recipe.budget import Budget
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Train

Values = dict[str, Any]
"""Values by the dotted names of fields, as `train.lr`."""


def with_values(recipe: Recipe, arm: str, values: Mapping[str, Any]) -> Recipe:
    """The recipe with these values for an arm, which is compared with dense.

    Fields of `[train]` are changed in the arm's own table, those of dense in `[train]` itself.

    Raises InputError for an unknown arm, and for fields that make no sense.
    """
    if not is_arm(arm):
        raise unknown_name("arm", arm, dict.fromkeys(("dense", "ticket", *recipe.compare.arms, "dense+liet")))
    changed = _changed(recipe, arm, values)
    arms = ("dense",) if arm == "dense" else ("dense", arm)
    changed = replace(changed, compare=recipe.compare.with_arms(arms))
    for field in values:
        if field.startswith("search.") and not needs_ticket(arm, changed):
            raise InputError(
                f"{field} does nothing in {arm}, which needs no search: name another arm, or field"
            )
    recipes.check(changed, recipe)
    return changed


def with_tuned(recipe: Recipe, chosen: Mapping[str, Values], trials: int, seeds: Sequence[int]) -> Recipe:
    """The recipe with what was chosen for each arm, and how, beside what was chosen before.

    Its name ends in -tuned.
    """
    arms = (*recipe.compare.arms, *(arm for arm in chosen if arm not in recipe.compare.arms))
    result = replace(recipe, compare=replace(recipe.compare, arms=arms))
    for arm, values in chosen.items():
        result = _changed(result, arm, values)
    records = recipe.tuned.tables
    for arm, values in chosen.items():
        before = records.get(arm, {"fields": [], "trials": 0, "seeds": []})
        records[arm] = {
            "fields": list(dict.fromkeys([*before["fields"], *values])),
            "trials": before["trials"] + trials,
            "seeds": sorted({*before["seeds"], *seeds}),
        }
    name = f"{recipe.name.removesuffix('-tuned')}-tuned"
    result = replace(result, name=name, tuned=ArmSettings(records))
    recipes.check(result, recipe)
    return result


def shortened(recipe: Recipe, share: float, *, searches: bool) -> Recipe:
    """The recipe with trainings of a share of the length, an epoch or a step at least.

    searches: whether searches are shortened too.
    """
    if share == 1:
        return recipe
    tables = {name: {**table, **_shorter(table, share)} for name, table in recipe.arms.tables.items()}
    train = replace(recipe.train, **_shorter(vars(recipe.train), share))
    search = replace(recipe.search, **_shorter(vars(recipe.search), share)) if searches else recipe.search
    return replace(recipe, train=train, search=search, arms=ArmSettings(tables))


def _changed(recipe: Recipe, arm: str, values: Mapping[str, Any]) -> Recipe:
    """The recipe with these values, unchecked but for their types."""
    sections: dict[str, Any] = {}
    own: dict[str, Any] = recipe.arms.tables.get(arm, {})
    for field, value in values.items():
        section, dot, name = field.partition(".")
        if section not in ("train", "search") or not dot:
            raise InputError(f"{field} cannot be tuned: give a field of train or of search, as train.lr")
        if section == "train" and arm != "dense":
            _put(own, name, value)
        else:
            _put(sections.setdefault(section, {}), name, value)
    changed = schema.read(Recipe, sections, recipe)
    if own:
        schema.read(Train, own, changed.train, f"arms.{arm}")  # for its message
        changed = replace(changed, arms=ArmSettings({**recipe.arms.tables, arm: own}))
    return changed


def _put(table: dict[str, Any], name: str, value: Any) -> None:
    """Set a dotted name in nested tables."""
    *tables, last = name.split(".")
    for part in tables:
        table = table.setdefault(part, {})
    table[last] = value


def _shorter(fields: Mapping[str, Any], share: float) -> dict[str, Any]:
    """The fields of a table that give a length, shortened."""
    shorter: dict[str, Any] = {}
    for name in ("epochs", "ticket_epochs", "iterations", "ticket_iterations"):
        if fields.get(name):
            shorter[name] = max(1, round(fields[name] * share))
    for name in ("budget", "ticket_budget"):
        value = fields.get(name)
        if value is not None:
            budget = Budget(str(value))
            text = f"{budget.amount * share:.6g}{'s' if budget.unit == 'seconds' else budget.unit}"
            shorter[name] = Budget(text) if isinstance(value, Budget) else text
    return shorter
