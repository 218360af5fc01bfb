"""The table of arms: by name, and derived for names with a plus, such as `dense+liet`."""

import colorsys
import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.arm import Arm, no_sentence
from robust_tickets.recipe.methods import METHODS


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
            colour=_variant_colour(variant, base),
            sentence=no_sentence,
            in_controls_study=False,
            caveat=lambda recipe: "",
        )


def _variant_colour(variant: str, base: str) -> str:
    """A colour for what follows the plus: lighter for `ticket` than for `dense`, paler for other arms."""
    if variant in METHODS:
        hue = list(METHODS).index(variant) / len(METHODS)
    else:
        hue = hashlib.sha256(variant.encode()).digest()[0] / 256
    digest = hashlib.sha256(base.encode()).digest()
    pale = 0.3 + 0.3 * digest[0] / 255, 0.2 + 0.3 * digest[1] / 255
    lightness, saturation = {"dense": (0.35, 0.75), "ticket": (0.55, 0.75)}.get(base, pale)
    parts = colorsys.hls_to_rgb(hue, lightness, saturation)
    return "#" + "".join(f"{round(255 * part):02X}" for part in parts)


def arm_table(arms: Iterable[Arm]) -> ArmTable:
    """The arms by name. Raises ValueError for two that share a name or a colour."""
    table = ArmTable()
    for arm in arms:
        twin = next((a.name for a in table.values() if arm.name == a.name or arm.colour == a.colour), None)
        if twin is not None:
            raise ValueError(f"the arm {arm.name!r} has the name or the colour of {twin!r}: choose another")
        table[arm.name] = arm
    return table
