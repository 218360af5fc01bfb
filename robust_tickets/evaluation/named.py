"""Attacks by the names that people give them."""

import re
from collections.abc import Sequence

import attacks
from attacks import Attack, ThreatModel
from attacks.text import BUILDERS, FOREIGN, canonical, parse
from robust_tickets.errors import InputError, unknown

CLEAN = "clean"

SETS = {
    "quick": (CLEAN, "fgsm", "pgd-20"),
    "standard": (
        CLEAN,
        "fgsm",
        "pgd-20",
        "pgd(steps=20, restarts=5)",
        "pgd(steps=100, loss='margin')",
        "apgd",
        "apgd(loss='dlr')",
    ),
}
"""Names for several attacks at once; `autoattack` is one attack, an ensemble."""

_NAMES = (CLEAN, *SETS, *BUILDERS)


def attacks_named(names: Sequence[str]) -> tuple[str, ...]:
    """The attacks of a list in which sets may stand, each once, "clean" first: robust accuracy needs it.

    Raises InputError for what is no attack.
    """
    listed = [name for word in names for name in SETS.get(word, (word,))]
    for name in listed:
        if re.fullmatch(r"[\w-]+", name) and name.partition("-")[0] != "pgd" and name not in _NAMES:
            raise unknown("attack", name, [*_NAMES, "pgd-20", f"{FOREIGN}NAME"])
    try:
        return tuple(dict.fromkeys((CLEAN, *(canonical(name) for name in listed if name != CLEAN))))
    except attacks.InputError as error:
        raise InputError(str(error)) from None


def attack_named(name: str, threat: ThreatModel, rel_step: float) -> Attack | None:
    """The attack called so, steps of `rel_step` * eps where it names no other; None for "clean".

    Raises InputError for any other name.
    """
    try:
        return None if name == CLEAN else parse(name, threat, rel_step=rel_step)
    except attacks.InputError as error:
        raise InputError(str(error)) from None
