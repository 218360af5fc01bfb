"""Attacks by the names that people give them."""

from collections.abc import Iterable, Sequence

from robust_tickets.attacks import Attack, ThreatModel
from robust_tickets.attacks.text import BUILDERS, THIRD_PARTY, UnknownAttackError, canonical, parse
from robust_tickets.base.errors import InputError, unknown_name
from robust_tickets.evaluation.attack_sets import CLEAN, SETS


def attack_names(attacks: object) -> tuple[str, ...]:
    """The names in an argument of Python, one or several. Raises InputError for anything else."""
    names = [attacks] if isinstance(attacks, str) else list(attacks) if isinstance(attacks, Iterable) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"attacks must be names, as 'quick' or ['fgsm', 'pgd(steps=20)'], got {attacks!r:.80}"
        )
    return tuple(names)


def expand_attacks(names: Sequence[str]) -> tuple[str, ...]:
    """The attacks of a list that may hold sets, each once, "clean" first: robust accuracy needs it.

    Raises InputError for an unknown attack.
    """
    members = [name for word in names for name in SETS.get(word, (word,))]
    return tuple(dict.fromkeys((CLEAN, *(canonical(name) for name in members if name != CLEAN))))


def build_attack(name: str, threat: ThreatModel, rel_step: float) -> Attack | None:
    """The attack of that name, with steps of `rel_step` * eps where it names no other; None for "clean".

    Raises InputError for any other name.
    """
    try:
        return None if name == CLEAN else parse(name, threat, rel_step=rel_step)
    except UnknownAttackError as error:  # the attacks package knows no sets
        if error.name in SETS:
            members = ", ".join(SETS[error.name])
            raise InputError(
                f"{error.name} is a set of attacks and takes no settings: name its own, {members}"
            ) from None
        names = (CLEAN, *SETS, *BUILDERS, "pgd-20", f"{THIRD_PARTY}NAME")
        raise unknown_name("attack", error.name, names) from None
