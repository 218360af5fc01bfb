"""The table of arms: by name, and derived for names with a plus, such as `dense+liet`."""

import re
from collections.abc import Iterable
from dataclasses import replace

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.arm import Arm, no_sentence


class ArmTable(dict[str, Arm]):
    """The arms by name; `ARM+METHOD` is the arm with another training method or table of settings."""

    def __missing__(self, name: str) -> Arm:
        base, plus, variant = name.partition("+")
        if not plus or base not in self or not self[base].has_own_settings:
            raise KeyError(name)
        if not re.fullmatch(r"[a-z0-9]+([-_][a-z0-9]+)*", variant):
            raise InputError(
                f"compare.arms {name}: after the plus comes one training method, or the name of one table "
                "[arms.NAME] of small letters and digits, with single hyphens or underscores between them"
            )
        return replace(
            self[base],
            name=name,
            help=f"as {base}, by {variant}",
            sentence=no_sentence,
            in_controls_study=False,
            caveat=lambda recipe: "",
        )


def arm_table(arms: Iterable[Arm]) -> ArmTable:
    """The arms by name. Raises ValueError for two that share a name or a colour."""
    table = ArmTable()
    for arm in arms:
        twin = next((a.name for a in table.values() if arm.name == a.name or arm.colour == a.colour), None)
        if twin is not None:
            raise ValueError(f"the arm {arm.name!r} has the name or the colour of {twin!r}: choose another")
        table[arm.name] = arm
    return table
