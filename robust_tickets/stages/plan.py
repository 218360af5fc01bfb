"""The lengths of searches and arms, by arithmetic from the recipe alone."""

import math
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from robust_tickets.attacks import APGDTargeted
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.data.batches import steps_per_epoch
from robust_tickets.data.dataset import Spec, count_training_images
from robust_tickets.recipe.arm import Schedule
from robust_tickets.recipe.arm_training import arm_training
from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.budget import Budget
from robust_tickets.recipe.fields import Search, Train, Training
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.pruning_methods import make_pruning_method
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs.curve import early_steps
from robust_tickets.stages.budgets import Rates, ShareOfRates, UnknownRates, steps_within
from robust_tickets.tickets.methods.base import SearchPlan


@dataclass(frozen=True)
class ArmPlan:
    """One training of a comparison: that of an arm, or of the stage before it.

    arm: its folder in the run directory.
    training: its settings.
    steps: its optimiser steps.
    per_epoch: steps of an epoch.
    points: steps before which it is validated, besides after every epoch.
    images: training images, balanced over the classes; 0: all.
    """

    arm: str
    training: Training
    steps: int
    per_epoch: int
    points: tuple[int, ...] = ()
    images: int = 0

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
        """How often it is validated: after every epoch, and at points."""
        return self.ends + len(self.points)

    @property
    def is_averaged(self) -> bool:
        """Whether its weights are averaged, which gives a third checkpoint and a second validation."""
        return isinstance(self.training, Train) and self.training.average > 0


@dataclass(frozen=True)
class TicketCost:
    """What a ticket took and takes.

    search: FLOPs of its search.
    ticket: FLOPs of a forward pass of the network that is trained from it.
    dense: FLOPs of a forward pass of the whole network.
    steps: of its training, where they follow from a timing; None: they follow from the recipe.
    seconds: charged to its search and its training; None: it is not trained yet.
    statistics: whether the networks have BatchNorm statistics, which a weight average estimates anew.
    """

    search: int
    ticket: int
    dense: int
    steps: int | None = None
    seconds: float | None = None
    statistics: bool = True


@dataclass(frozen=True)
class StepLengths:
    """The lengths that a schedule can have, in optimiser steps.

    training: the settings of the steps that are counted.
    images: training images; 0: all.
    cost: of the ticket; None: not known yet, so that lengths are those for a search that does not end early
        and a ticket that has lost no channel, or the same share of each layer's.
    rates: of the network that is trained, for budgets.
    """

    recipe: Recipe
    spec: Spec
    training: Training
    images: int = 0
    cost: TicketCost | None = None
    rates: Rates = UnknownRates()

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        images = self.images or count_training_images(self.recipe.data, self.spec)
        concern = "train" if isinstance(self.training, Train) else "search"
        return steps_per_epoch(images, self.training.batch, f"{concern}.batch")

    @property
    def full(self) -> int:
        """The full schedule."""
        train = self._train
        if train.budget is not None:
            return self._within(train.budget)
        return train.iterations or train.epochs * self.per_epoch

    @property
    def short(self) -> int:
        """The short schedule."""
        train = self._train
        if train.budget is not None:
            return self._within(train.ticket_budget or train.budget)
        return train.ticket_iterations or train.ticket_epochs * self.per_epoch

    @property
    def equal_cost(self) -> int:
        """As long as search and ticket cost in FLOPs, rounded up in favour of the whole network.

        To whole epochs, unless the recipe gives iterations or a budget. A network with zeros runs as many
        FLOPs as the whole one, one without its dead channels fewer.
        """
        train = self._train
        return self._equal_flops(1 if train.iterations or train.budget is not None else self.per_epoch)

    @property
    def equal_seconds(self) -> int:
        """As long as search and ticket took in seconds, rounded up to a step in favour of the whole network.

        Before they are known: as long as they cost in FLOPs.
        """
        if self.cost is None or self.cost.seconds is None:
            return self._equal_flops(1)
        return self._as_long_as(self.cost.seconds, price=self.rates.pass_seconds)

    def _equal_flops(self, unit: int) -> int:
        if self.cost is not None:
            return self._as_long_as(self.cost.search + self._ticket_passes * self.cost.ticket, unit)
        passes = search_cost(self.recipe, self.spec) + self._ticket_passes * self._ticket_share
        return self._as_long_as(passes, unit)

    @property
    def search_cost(self) -> int:
        """As long as the search costs in FLOPs, rounded up to a step in favour of the whole network."""
        cost = self.cost.search if self.cost is not None else search_cost(self.recipe, self.spec)
        return self._as_long_as(cost)

    @property
    def ticket_cost(self) -> int:
        """As long as the ticket's training costs in FLOPs, rounded up to a step, as `search_cost` is."""
        share = self.cost.ticket if self.cost is not None else self._ticket_share
        return self._as_long_as(self._ticket_passes * share)

    @property
    def _train(self) -> Train:
        """The settings that have the lengths of the full and the short schedule."""
        return self.training if isinstance(self.training, Train) else self.recipe.train

    def _within(self, budget: Budget) -> int:
        """The most steps within a budget."""
        return steps_within(budget, self._passes, self.rates)

    def _as_long_as(self, cost: float, unit: int = 1, price: float | None = None) -> int:
        """The fewest steps, a multiple of `unit`, that cost the whole network at least so much.

        cost: in FLOPs, or in forward passes of the whole network where the ticket's cost is not known yet.
        price: of a forward pass, where the cost is in something else.
        """
        if price is None:
            price = 1 if self.cost is None else self.cost.dense

        def is_short(units: int) -> bool:
            return self._passes(units * unit).cost * price < cost

        most = 1
        while is_short(most):
            most *= 2
        return bisect(range(most + 1), False, key=lambda units: not is_short(units)) * unit

    @property
    def _ticket_passes(self) -> int:
        """Passes of the ticket's training."""
        share = self._ticket_share if self.cost is None else self.cost.ticket / self.cost.dense
        training, rates = arm_training(self.recipe, "ticket"), ShareOfRates(self.rates, share)
        own = replace(self, training=training, images=0, rates=rates)
        steps = own.short if self.cost is None or self.cost.steps is None else self.cost.steps
        return own._passes(steps).cost

    def _passes(self, steps: int) -> Passes:
        """Passes of so many steps; a network that is not known yet is taken to have BatchNorms."""
        statistics = self.cost is None or self.cost.statistics
        return training_passes(self.training, steps, self.spec.classes, self.per_epoch, statistics)

    @property
    def _ticket_share(self) -> float:
        """FLOPs of a pass of the ticket's network, as a share of the whole one's."""
        return pass_share(self.recipe.search, search_plan(self.recipe, self.spec).rounds)


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

    Raises InputError for a budget that is shorter than one step.
    """
    record = ARMS[arm].schedule
    if steps is not None:
        record = replace(record, steps=lambda lengths: steps)
    schedule = _plan(recipe, arm, record, spec, cost, rates)
    points = early_steps(recipe.evaluate, schedule.per_epoch)
    return replace(schedule, points=tuple(step for step in points if step < schedule.steps))


def first_stage(recipe: Recipe, arm: str, spec: Spec, cost: TicketCost | None = None) -> ArmPlan:
    """Plan the stage that is trained before an arm and charged to it; arguments as those of `plan`."""
    stage = ARMS[arm].before
    if stage is None or stage.schedule is None:
        raise ValueError(f"the arm {arm} has no first stage")
    return _plan(recipe, stage.folder, stage.schedule, spec, cost)


def training_of(recipe: Recipe, arm: str) -> Training:
    """The settings that an arm is trained with, after its first stage, where it has one."""
    settings = ARMS[arm].schedule.settings
    return settings(recipe) if settings else arm_training(recipe, arm)


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
    concern = "train" if isinstance(training, Train) else "search"
    make_method(training).check_length(f"arms.{folder}" if "+" in folder else concern, steps)
    return ArmPlan(folder, training, steps, lengths.per_epoch, images=lengths.images)


def _lengths(recipe: Recipe, folder: str, schedule: Schedule, spec: Spec) -> StepLengths:
    training = schedule.settings(recipe) if schedule.settings else arm_training(recipe, folder)
    return StepLengths(recipe, spec, training, schedule.images(recipe))


def search_plan(recipe: Recipe, spec: Spec) -> SearchPlan:
    """Plan the search of a recipe on the images of `spec`.

    Raises InputError for a rewind step beyond a round, or more images than training has.
    """
    search = recipe.search
    images = count_training_images(recipe.data, spec)
    if search.images > images:
        raise InputError(
            f"search.images is {search.images}, but training has {images} images: ask for fewer, or 0 for all"
        )
    per_epoch = steps_per_epoch(search.images or images, search.batch, "search.batch")
    return make_pruning_method(search).plan(per_epoch)


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
    if images and spec.classes < APGDTargeted.least_classes:
        raise InputError(
            f"evaluate.aa_images is {images}, but AutoAttack needs {APGDTargeted.least_classes} classes and "
            f"{data} has {spec.classes}: set it to 0, which leaves PGD-20"
        )


def training_passes(
    training: Training, steps: int, classes: int, per_epoch: int, statistics: bool = True
) -> Passes:
    """Passes of a schedule: attack, update, and those that estimate the statistics of a weight average.

    steps: its optimiser steps; per_epoch: those of an epoch.
    classes: of the images.
    statistics: whether the network has BatchNorm statistics.
    """
    passes = step_passes(training, steps, classes)
    if isinstance(training, Train) and training.average and statistics:
        epochs, rest = divmod(steps, per_epoch)
        batches = epochs * min(training.average_batches, per_epoch) + min(training.average_batches, rest)
        passes.add(Passes(forward=batches * training.batch))
    return passes


def step_passes(training: Training, steps: int, classes: int) -> Passes:
    """Passes of so many steps on images of so many classes, attack and update."""
    return make_method(training).schedule_passes(training.batch, 0, steps, classes).whole


def search_passes(recipe: Recipe, spec: Spec) -> Passes:
    """Passes of the whole search; at most, where it may end early."""
    return make_pruning_method(recipe.search).passes(search_plan(recipe, spec), spec.classes)


def pass_share(search: Search, rounds: int) -> float:
    """FLOPs of a pass after so many rounds, as a share of the whole network's.

    1 where weights are pruned, since zeros are not skipped; where channels are, as if each layer had lost the
    same share: of the channels that it makes, and of those that it reads.
    """
    return 1.0 if search.granularity == "weight" else (1 - search.ratio) ** (2 * rounds)


def search_cost(recipe: Recipe, spec: Spec) -> float:
    """Cost of the search in forward passes of the whole network; at most, where it may end early."""
    search, passes = search_plan(recipe, spec), search_passes(recipe, spec)
    if not search.steps:
        return passes.cost
    weighted = sum(n * pass_share(recipe.search, rounds) for rounds, n in enumerate(search.steps_of_rounds))
    return passes.cost * weighted / search.steps
