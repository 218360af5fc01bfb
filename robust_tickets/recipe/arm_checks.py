"""Checks of the arms of a recipe and of their own settings."""

from typing import TYPE_CHECKING

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.arm_training import arm_training, arm_trainings, training_of
from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.contrasts import parsed
from robust_tickets.recipe.field_names import FieldNames
from robust_tickets.recipe.methods import METHODS, WRAPPERS, used_settings
from robust_tickets.recipe.pruning_methods import make_pruning_method
from robust_tickets.recipe.table_checks import check_tables
from robust_tickets.recipe.training_checks import check_eps, check_method, check_overfitting, check_training
from robust_tickets.recipe.training_fields import Train, Training
from robust_tickets.recipe.unused_settings import check_wrappers

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe


def check_arm_settings(recipe: "Recipe", base: "Recipe | None") -> None:
    """Raise InputError for tables of arms with wrong fields, or that do nothing.

    base: the recipe that this one changes; tables that it has may stay without an arm. None: a file's.
    """
    if "dense" in recipe.arms.tables:
        raise InputError("[arms.dense] is [train] itself, which the other arms begin from: change that")
    for arm, training in arm_trainings(recipe).items():
        names = FieldNames.of_arm(recipe, arm)
        check_training(names, training)
        for name in METHODS.keys() - {training.method}:
            if getattr(training, name, None) != getattr(recipe.train, name, None):
                raise InputError(
                    f"{names(name)} does nothing to the method {training.method} of {arm}: choose method "
                    f"{name}, or leave it out"
                )
        unused = WRAPPERS.keys() - used_settings(training)
        check_wrappers(names, unused, training, recipe.train)
        check_method(names, training, recipe.threat)
        if names.table("overfitting"):
            check_overfitting(names, [training])
        if names.table("eps"):
            check_eps(names, [training], recipe.threat)
    known = None if base is None else base.arms.tables
    check_tables(recipe.arms.tables, known, recipe.compare.arms)
    for arm, training in arm_trainings(recipe).items() if base is None else ():
        _check_budget(FieldNames.of_arm(recipe, arm), training)


def _check_budget(names: FieldNames, training: Train) -> None:
    """Refuse epochs of an arm's own table that a budget of `[train]` takes the place of."""
    for field in ("epochs", "ticket_epochs") if training.budget is not None else ():
        if names.table(field) and not names.table("budget"):
            raise InputError(
                f"{names(field)} does nothing beside {names('budget')} {training.budget}, which gives the "
                "length: leave it out, or give a budget there too"
            )


def check_tuned(recipe: "Recipe") -> None:
    """Raise InputError for a record of a tuning that is none."""
    for arm, record in recipe.tuned.tables.items():
        kinds = {"fields": list, "trials": int, "seeds": list}
        if {name: type(value) for name, value in record.items()} != kinds:
            raise InputError(
                f"[tuned.{arm}] must have fields, trials and seeds, as `robust-tickets tune` writes them: "
                "leave it out"
            )


def check_arms(recipe: "Recipe") -> None:
    """Raise InputError for arms that are named twice, lack dense, or make no sense in the recipe."""
    names = recipe.compare.arms
    _check_basis(recipe)
    if len(set(names)) < len(names):
        raise InputError(f"compare.arms names an arm twice: {' '.join(names)}")
    if "dense" not in names:
        raise InputError("compare.arms lacks dense, which the other arms are measured against: add it")
    for name in names:
        reason, source = arm_refusal(name, recipe), ARMS[name].best_epoch_of
        if reason:
            raise InputError(f"compare.arms {name} {reason}")
        if (
            ARMS[name].schedule.follows_ticket
            and "ticket" not in names
            and _is_timed(arm_training(recipe, "ticket"))
        ):
            raise InputError(
                f"compare.arms {name} follows the ticket, whose length is timed: add the arm ticket, or give "
                "budgets in passes or FLOPs"
            )
        if ARMS[name].network == "random":
            check_method(FieldNames.of_arm(recipe, name), training_of(recipe, name), recipe.threat)
        if source and source not in names:
            raise InputError(f"compare.arms {name} is read from the files of {source}: add it")
        if source and recipe.evaluate.aa_images and "best" not in recipe.evaluate.aa_checkpoints:
            raise InputError(
                f"compare.arms {name} is the best epoch of {source}, which evaluate.aa_checkpoints leaves "
                "out: add best there, or leave the arm out"
            )
    parsed(recipe.compare.contrasts, names)
    _check_reuses(recipe)


def _check_reuses(recipe: "Recipe") -> None:
    """Raise InputError for a number of trainings that use the search that no arm needs, or that one lacks."""
    compare = recipe.compare
    if compare.is_amortised and compare.reuses < 2:
        raise InputError(
            "compare.arms dense-amortised needs the number of trainings that use the search: give "
            "compare.reuses, 2 or more, or choose dense-equal-cost"
        )
    if compare.reuses > 1 and not compare.is_amortised:
        raise InputError(
            f"compare.reuses {compare.reuses} does nothing without the arm dense-amortised: add that to "
            "compare.arms, or leave it out"
        )


def _check_basis(recipe: "Recipe") -> None:
    """Raise InputError where coefficients of a basis are to be trained by another optimiser than SGD."""
    basis = recipe.search.basis
    if basis == "canonical":
        return
    trainings: list[tuple[FieldNames, Training]] = [(FieldNames("search"), recipe.search)]
    for name in recipe.compare.arms:
        if ARMS[name].network == "ticket":
            trainings.append((FieldNames.of_arm(recipe, name), training_of(recipe, name)))
    for names, training in trainings:
        if training.optimiser != "sgd":
            raise InputError(
                f"{names('optimiser')} {training.optimiser} does not go with search.basis {basis}: its steps "
                "are not those of a training of the coefficients; choose sgd"
            )


def arm_refusal(name: str, recipe: "Recipe") -> str:
    """The reason why an arm makes no sense in a recipe, as the end of "compare.arms NAME ..."; "": none."""
    arm, search = ARMS[name], recipe.search
    if arm.transform in make_pruning_method(search).redundant_transforms:
        return (
            f"makes no sense with search.pruning_method {search.pruning_method}: it would be the ticket of "
            "another seed; leave it out"
        )
    return arm.refusal(recipe)


def _is_timed(train: Train) -> bool:
    """Whether the short schedule is as long as a timing says."""
    budget = train.ticket_budget or train.budget
    return budget is not None and budget.unit == "seconds"
