"""Checks of one training, of the search or of an arm: a schedule or method that makes no sense is refused."""

from collections.abc import Sequence

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.eps import check_radius
from robust_tickets.recipe.field_names import FieldNames
from robust_tickets.recipe.fields import Threat
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.training_fields import Train, Training


def check_training(names: FieldNames, training: Training) -> None:
    """Raise InputError for a schedule that makes no sense; names: of its fields, in messages."""
    if training.warmup and training.warmup_lr > training.lr:
        raise InputError(
            f"{names('warmup_lr')} {training.warmup_lr:g} is above {names('lr')} {training.lr:g}: "
            "a warm-up rises, so choose it smaller"
        )
    if training.warmup_lr and not training.warmup:
        raise InputError(
            f"{names('warmup_lr')} does nothing without {names('warmup')}: set it to 0, or give both"
        )
    if training.muon_lr != Training().muon_lr and training.optimiser != "muon":
        raise InputError(
            f"{names('muon_lr')} does nothing to the optimiser {training.optimiser}: leave it out, or choose "
            f"{names('optimiser')} muon"
        )
    if training.smoothing != Training().smoothing and not training.label_smoothing:
        raise InputError(
            f"{names('smoothing')} does nothing without {names('label_smoothing')}: leave it out, or give "
            "both"
        )
    if list(training.milestones) != sorted(set(training.milestones)):
        milestones = " ".join(f"{share:g}" for share in training.milestones)
        raise InputError(f"{names('milestones')} must rise, got {milestones}: write them as 0.5 0.75")
    if training.milestones != Training().milestones and training.schedule != "step":
        raise InputError(
            f"{names('milestones')} does nothing to the schedule {training.schedule}: leave it "
            f"out, or choose step"
        )
    if isinstance(training, Train):
        _check_budgets(names, training)
    batches = training.average_batches if isinstance(training, Train) and not training.average else None
    if batches not in (None, Train().average_batches):
        raise InputError(
            f"{names('average_batches')} does nothing without {names('average')}: leave it out, or give both"
        )
    if isinstance(training, Train) and bool(training.iterations) != bool(training.ticket_iterations):
        raise InputError(
            f"{names('iterations')} and {names('ticket_iterations')} belong together: give both, or neither "
            "and epochs"
        )


def _check_budgets(names: FieldNames, train: Train) -> None:
    if train.ticket_budget is not None and train.budget is None:
        raise InputError(
            f"{names('ticket_budget')} is for the short schedule, beside {names('budget')} for the full one: "
            "give both, or neither"
        )
    if train.budget is not None and (train.iterations or train.ticket_iterations):
        field = "iterations" if train.iterations else "ticket_iterations"
        raise InputError(
            f"{names('budget')} {train.budget} and {names(field)} are both the length of the training"
            f"{names.of_owner}: leave one out (iterations and ticket_iterations by 0)"
        )


def check_lengths(train: Train, base: Train) -> None:
    """Raise InputError for epochs that are changed beside a budget; base: what the training was before."""
    for field in ("epochs", "ticket_epochs") if train.budget is not None else ():
        if getattr(train, field) != getattr(base, field):
            raise two_lengths(field, str(train.budget))


def two_lengths(field: str, budget: str) -> InputError:
    """An InputError for epochs beside a budget, both given by the user."""
    return InputError(
        f"train.{field} does nothing beside train.budget {budget}, which gives the length: leave one out"
    )


def check_method(names: FieldNames, training: Training, threat: Threat) -> None:
    """Raise InputError where the training method does not go with the threat model or another field.

    names: of the fields of the training, in messages.
    """
    method = make_method(training)
    method.check(names)
    if threat.norm not in method.norms:
        raise InputError(
            f"{names.method} {training.method} is defined for threat.norm {' or '.join(method.norms)}, got "
            f"{threat.norm}: choose another method"
        )
    if method.moves_mask and getattr(training, "average", False):
        raise InputError(
            f"{names('average')} does not go with {names('dst')}: an average over masks that move has more "
            "weights than each of them; leave one out"
        )
    if training.overfitting == "pgd" and training.overfitting_steps < 2:
        raise InputError(
            f"{names('overfitting_steps')} is 1, and networks overfit to attacks of one step: give 2 or more"
        )
    if training.overfitting != "pgd" and training.overfitting_steps != Training().overfitting_steps:
        raise InputError(
            f"{names('overfitting_steps')} does nothing without {names('overfitting')} pgd: leave it out, or "
            "give both"
        )


def check_eps(names: FieldNames, trainings: Sequence[Training], threat: Threat) -> None:
    """Raise InputError for a radius of its own that is too large, or where none of the trainings attacks.

    names: of the fields of the first.
    """
    eps, method = trainings[0].eps, trainings[0].method
    if eps is None:
        return
    check_radius(names("eps"), eps, threat.norm)
    if not any(make_method(training).attacks for training in trainings):
        raise InputError(
            f"{names('eps')} {eps} does nothing to the method {method}{names.of_owner}, which attacks no "
            "images: leave it out"
        )


def check_overfitting(names: FieldNames, trainings: Sequence[Training]) -> None:
    """Raise InputError for `overfitting` where none of the trainings that have it takes a single step.

    names: of the fields of the first.
    """
    training = trainings[0]
    if training.overfitting == "warn" or any(make_method(each).single_step for each in trainings):
        return
    raise InputError(
        f"{names('overfitting')} {training.overfitting} does nothing to the method {training.method}"
        f"{names.of_owner} as it is set: only networks whose training attack takes a single step "
        "overfit catastrophically; leave it out"
    )
