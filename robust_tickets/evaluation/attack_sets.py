"""Attacks by the names that people give them."""

from collections.abc import Sequence

from attacks import Attack, ThreatModel
from attacks.text import BUILDERS, FOREIGN, UnknownAttackError, canonical, parse
from robust_tickets.base.errors import InputError, unknown_name

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


def expand_attacks(names: Sequence[str]) -> tuple[str, ...]:
    """The attacks of a list in which sets may stand, each once, "clean" first: robust accuracy needs it.

    Raises InputError for what is no attack.
    """
    listed = [name for word in names for name in SETS.get(word, (word,))]
    return tuple(dict.fromkeys((CLEAN, *(canonical(name) for name in listed if name != CLEAN))))


def build_attack(name: str, threat: ThreatModel, rel_step: float) -> Attack | None:
    """The attack called so, steps of `rel_step` * eps where it names no other; None for "clean".

    Raises InputError for any other name.
    """
    try:
        return None if name == CLEAN else parse(name, threat, rel_step=rel_step)
    except UnknownAttackError as error:  # what knows attacks knows nothing of sets
        if error.name in SETS:
            words = ", ".join(SETS[error.name])
            raise InputError(
                f"{error.name} is a set of attacks and takes no settings: name its own, {words}"
            ) from None
        known = (CLEAN, *SETS, *BUILDERS, "pgd-20", f"{FOREIGN}NAME")
        raise unknown_name("attack", error.name, known) from None
