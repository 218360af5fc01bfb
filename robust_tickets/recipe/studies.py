"""The studies by name. One line of `STUDIES` registers one: nothing else names it.

The fields of `recipe.study`, their flags and help come from the records.
"""

import importlib
from functools import cache
from typing import TYPE_CHECKING

from robust_tickets.base.errors import InputError

if TYPE_CHECKING:
    from robust_tickets.recipe.fields import Compare, StudySettings
    from robust_tickets.recipe.recipe import Recipe
    from robust_tickets.studies.base import Study

STUDIES = {
    "lr": "robust_tickets.studies.lr:STUDY",
    "ratio": "robust_tickets.studies.ratio:STUDY",
    "width": "robust_tickets.studies.width:STUDY",
    "mask-source": "robust_tickets.studies.mask_source:STUDY",
    "search-length": "robust_tickets.studies.search_length:STUDY",
    "rounds": "robust_tickets.studies.rounds:STUDY",
    "controls": "robust_tickets.studies.controls:STUDY",
    "schedule": "robust_tickets.studies.schedule:STUDY",
    "transfer": "robust_tickets.studies.transfer:STUDY",
    "reuse": "robust_tickets.studies.reuse:STUDY",
    "elastic": "robust_tickets.studies.elastic:STUDY",
    "basis": "robust_tickets.studies.basis:STUDY",
    "recursive": "robust_tickets.studies.recursive:STUDY",
    "strong": "robust_tickets.studies.strong:STUDY",
}
"""Name of the command line -> module:record."""


@cache
def load_study(name: str) -> "Study":
    """The record of a registered study. Raises TypeError for anything but a Study of that name."""
    base = importlib.import_module("robust_tickets.studies.base")
    module, _, attribute = STUDIES[name].partition(":")
    record = getattr(importlib.import_module(module), attribute)
    if not isinstance(record, base.Study) or record.name != name:
        raise TypeError(f"the study {name} ({STUDIES[name]}) is no Study of that name: correct one of them")
    return record  # type: ignore[no-any-return]


def pruning_methods_of_studies() -> set[str]:
    """The pruning methods that studies set beside a recipe's own."""
    return {name for study in STUDIES for name in load_study(study).pruning_methods}


def check_study(name: str, recipe: "Recipe", base: "Recipe") -> None:
    """Raise InputError for settings of other studies, and for arms, which a study chooses itself.

    name: the study that is run; "": none.
    base: the recipe that this one changes, whose own fields are fine.
    """
    check_study_settings(name, recipe.study, base.study)
    if name:
        _check_study_arms(name, recipe.compare, base.compare)


def check_study_settings(name: str, settings: "StudySettings", base: "StudySettings") -> None:
    """Raise InputError for settings of other studies than the one that is run.

    name: the study that is run; "": none.
    base: the settings of the recipe itself, whose grids for other studies are fine.
    """
    for other in STUDIES:
        field = load_study(other).field
        if other != name and getattr(settings, field) != getattr(base, field):
            raise InputError(
                f"study.{field} is for the study {other}, and does nothing in {name or 'anything else'}: "
                "leave it out"
            )


def _check_study_arms(name: str, compare: "Compare", base: "Compare") -> None:
    for field in ("arms", "contrasts", "reuses"):
        if getattr(compare, field) != getattr(base, field):
            raise InputError(
                f"compare.{field} does nothing in the study {name}, which has arms of its own: leave it out"
            )


def studies_help() -> str:
    """The names and questions of the studies, for help."""
    return " ".join(f"{name}: {load_study(name).question}" for name in STUDIES)
