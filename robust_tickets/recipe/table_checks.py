"""Checks of the tables `[arms.NAME]`: what changes nothing, or not what its name says, is refused."""

from collections.abc import Iterable
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.arm_schedules import FULL, SHORT
from robust_tickets.recipe.arms import ARMS, is_arm
from robust_tickets.recipe.methods import METHODS

LENGTHS = {
    "epochs": (FULL, SHORT, "ticket_epochs"),
    "ticket_epochs": (SHORT, FULL, "epochs"),
    "ticket_budget": (SHORT, FULL, "budget"),
}
"""Fields that give the length of one schedule alone: that schedule, the other one, and its field."""


def table_names(arms: Iterable[str]) -> set[str]:
    """The names of the tables that arms may have: `[arms.NAME]` of an arm, or of what follows its plus."""
    return {word for arm in arms for word in (arm, arm.partition("+")[2])}


def check_tables(
    tables: dict[str, dict[str, Any]],
    known: dict[str, dict[str, Any]] | None,
    arms: tuple[str, ...],
) -> None:
    """Raise InputError for tables that do nothing, in whole or in part.

    known: tables of the recipe that this one changes; they may stay without an arm. None: of a file.
    """
    names = table_names(arms)
    for name, table in tables.items():
        if known is not None and name in known:
            continue
        if name not in names:
            raise InputError(
                f"[arms.{name}] does nothing: compare.arms has no {name if is_arm(name) else 'ARM+' + name}; "
                "add it, or leave the table out"
            )
        if name in arms and not ARMS[name].has_own_settings:
            raise InputError(
                f"[arms.{name}] does nothing: the settings of that arm are those of another; leave it out"
            )
        _check_lengths(name, table, [arm for arm in arms if name in (arm, arm.partition("+")[2])])
        if name in METHODS and table.get("method", name) != name:
            raise InputError(
                f"[arms.{name}] has the name of a training method and chooses another, {table['method']}: "
                f"give it a name of your own, as [arms.my-{name}]"
            )


def _check_lengths(name: str, table: dict[str, Any], arms: list[str]) -> None:
    """Refuse lengths of a schedule that none of the arms has that take the table."""
    if "budget" in table and "epochs" in table:
        raise InputError(
            f"[arms.{name}] has epochs and a budget, which takes their place: leave one of them out"
        )
    schedules = {ARMS[arm].schedule for arm in arms}
    for field, (owner, other, instead) in LENGTHS.items():
        if field in table and owner not in schedules:
            raise InputError(
                f"[arms.{name}]: {field} does nothing to {' and '.join(arms)}: "
                + (
                    f"give {instead}"
                    if other in schedules
                    else "leave it out, the ticket's cost gives the length"
                )
            )
