"""The trainings of a comparison and their lengths, by arithmetic from the recipe alone."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from robust_tickets.attacks import APGDTargeted
from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import Spec
from robust_tickets.recipe.arm import Schedule
from robust_tickets.recipe.arm_training import arm_training
from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.field_names import FieldNames
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Train, Training
from robust_tickets.runs.curve import early_steps
from robust_tickets.stages.budgets import Rates, UnknownRates
from robust_tickets.stages.costs import search_plan
from robust_tickets.stages.step_lengths import StepLengths, TicketCost


@dataclass(frozen=True)
class ArmPlan:
    """One training of a comparison: that of an arm, or of the stage before it.

    arm: its folder in the run directory.
    training: its settings.
    steps: its optimiser steps; 0: the network is kept as it starts.
    per_epoch: steps of an epoch.
    points: steps before which it is validated, besides after every epoch.
    """

    arm: str
    training: Training
    steps: int
    per_epoch: int
    points: tuple[int, ...] = ()

    @property
    def epochs(self) -> float:
        """The steps in epochs: whole, unless the recipe gives iterations or a budget."""
        whole, rest = divmod(self.steps, self.per_epoch)
        return self.steps / self.per_epoch if rest else whole

    @property
    def ends(self) -> int:
        """How many epochs end in it; the last one may be cut short."""
        return math.ceil(self.steps / self.per_epoch)

    @property
    def validations(self) -> int:
        """How often it is validated: after every epoch, or once without any, and at points."""
        return max(1, self.ends) + len(self.points)

    @property
    def is_averaged(self) -> bool:
        """Whether its weights are averaged, which gives a third checkpoint and a second validation."""
        return isinstance(self.training, Train) and self.training.average > 0


def plan(
    recipe: Recipe,
    arm: str,
    spec: Spec,
    cost: TicketCost | None = None,
    rates: Rates = UnknownRates(),
    steps: int | None = None,
) -> ArmPlan:
    """Plan the training of an arm by its record in `recipe.arms`; after its first stage, where it has one.

    cost: what the ticket cost, for arms whose length depends on it; see `StepLengths`.
    rates: of the arm's network, for budgets.
    steps: its length, where that is fixed already.

    Raises InputError for a budget that is shorter than one step, and for a mask to move where there is none.
    """
    record = ARMS[arm].schedule
    if steps is not None:
        record = replace(record, steps=lambda lengths: steps)
    schedule = _plan(recipe, arm, record, spec, cost, rates)
    _check_moving_mask(recipe, arm, schedule.training)
    points = early_steps(recipe.evaluate, schedule.per_epoch)
    return replace(schedule, points=tuple(step for step in points if step < schedule.steps))


def _check_moving_mask(recipe: Recipe, arm: str, training: Training) -> None:
    """Raise InputError where the mask of an arm is to move, and it has none of single weights."""
    if not make_method(training).moves_mask:
        return
    field, record = field_names(recipe, arm, training)("dst"), ARMS[arm]
    if record.network in ("whole", "narrow"):
        raise InputError(
            f"{field} moves a mask, and {arm} has none: give it to the arms of a ticket alone, as "
            "[arms.ticket], or choose the arms set, rigl and flying-bird"
        )
    if recipe.search.granularity == "channel" and not record.other_search:
        raise InputError(
            f"{field} moves single weights, and search.granularity channel prunes whole channels: leave one "
            "out"
        )


def first_stage(recipe: Recipe, arm: str, spec: Spec, cost: TicketCost | None = None) -> ArmPlan:
    """Plan the stage that is trained before an arm and charged to it; arguments as those of `plan`."""
    stage = ARMS[arm].before
    if stage is None or stage.schedule is None:
        raise ValueError(f"the arm {arm} has no first stage")
    return _plan(recipe, stage.folder, stage.schedule, spec, cost)


def steps_of_epoch(recipe: Recipe, arm: str, spec: Spec) -> int:
    """Steps of an epoch of an arm's training."""
    return _lengths(recipe, arm, ARMS[arm].schedule, spec).per_epoch


def _plan(
    recipe: Recipe,
    folder: str,
    schedule: Schedule,
    spec: Spec,
    cost: TicketCost | None,
    rates: Rates = UnknownRates(),
) -> ArmPlan:
    lengths = replace(_lengths(recipe, folder, schedule, spec), cost=cost, rates=rates)
    training, steps = lengths.training, schedule.steps(lengths)
    if steps:
        make_method(training).check_length(lengths.names, steps)
    return ArmPlan(folder, training, steps, lengths.per_epoch)


def _lengths(recipe: Recipe, folder: str, schedule: Schedule, spec: Spec) -> StepLengths:
    training = schedule.settings(recipe) if schedule.settings else arm_training(recipe, folder)
    names = field_names(recipe, folder, training)
    return StepLengths(recipe, spec, training, names=names)


def field_names(recipe: Recipe, arm: str, training: Training) -> FieldNames:
    """The names of the fields of an arm's training, or of those of the stage before it, in messages."""
    return FieldNames.of_arm(recipe, arm) if isinstance(training, Train) else FieldNames("search")


def check(
    recipe: Recipe,
    spec: Spec,
    rates: Callable[[str], Rates] = lambda arm: UnknownRates(),
    arms: Sequence[str] | None = None,
) -> None:
    """Raise InputError where a recipe asks for more images than its data set has, or too large a batch.

    rates: of the network of an arm, for budgets, which may be too short for a step.
    arms: those that are planned; None: all.
    """
    search_plan(recipe, spec)
    for arm in recipe.compare.arms if arms is None else arms:
        plan(recipe, arm, spec, rates=rates(arm))
    if recipe.evaluate.images > spec.test_images:
        raise InputError(
            f"evaluate.images is {recipe.evaluate.images}, but {recipe.data.name} has {spec.test_images} "
            "test images: ask for fewer, or 0 for all"
        )
    _check_judge(recipe, spec)


def _check_judge(recipe: Recipe, spec: Spec) -> None:
    """Raise InputError where AutoAttack cannot judge on as many images as a recipe asks for."""
    images, data = recipe.evaluate.aa_images, recipe.data.name
    if images > spec.test_images:
        raise InputError(
            f"evaluate.aa_images is {images}, but {data} has {spec.test_images} test images: ask for fewer, "
            "or 0 for no AutoAttack"
        )
    if 0 < images < spec.classes:
        raise InputError(
            f"evaluate.aa_images is {images}, but {data} has {spec.classes} classes, which so few "
            f"images cannot be balanced over: give {spec.classes} or more, or 0 for no AutoAttack"
        )
    if images and spec.classes < APGDTargeted.least_classes:
        raise InputError(
            f"evaluate.aa_images is {images}, but AutoAttack needs {APGDTargeted.least_classes} classes and "
            f"{data} has {spec.classes}: set it to 0, which leaves PGD-20"
        )
