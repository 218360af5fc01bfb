"""The arms of a comparison: what each trains, and for how long, by arithmetic from the recipe alone."""

import math
from dataclasses import dataclass, fields, replace
from typing import Literal

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.data.batches import steps_per_epoch
from robust_tickets.data.dataset import Spec, training_images
from robust_tickets.recipe.fields import FIRST_STAGE, Arm, Evaluate, Search, Training
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.pruning_methods import make_pruning_method
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.tickets.methods.base import SearchPlan


@dataclass(frozen=True)
class ArmPlan:
    """One arm: its training, its optimiser steps, and whether it starts from the ticket.

    `size` says, of a narrower net, what it has as much of as the ticket: flops or weights. `points` are the
    steps before which it is validated, besides after every epoch. `images` are the training images it is
    given, balanced over the classes; 0 means all.
    """

    arm: str
    training: Training
    steps: int
    per_epoch: int
    from_ticket: bool = False
    size: Literal["", "flops", "weights"] = ""
    points: tuple[int, ...] = ()
    images: int = 0

    @property
    def epochs(self) -> float:
        """The steps in epochs: whole, unless the recipe's budget is in iterations."""
        whole, rest = divmod(self.steps, self.per_epoch)
        return self.steps / self.per_epoch if rest else whole


@dataclass(frozen=True)
class TicketCost:
    """What is known once the ticket is there: FLOPs of its search, of a forward pass of the net that is
    trained from it, and of one of the whole net.
    """

    search: int
    ticket: int
    dense: int


def plan(recipe: Recipe, arm: Arm, spec: Spec, searched: TicketCost | None = None) -> ArmPlan:
    """What an arm of the recipe trains on the images of `spec`; dense-best is dense, read otherwise.

    All arms have the schedule that was chosen for dense, in its own shape at their length; only
    dense-search-lr begins at the rate of the search, without warm-up, as the published baseline did, and the
    first stage of dense-staged is on the search's.
    What dense-equal-cost and dense-staged may spend hangs on the ticket: without `searched` it is what a
    search that does not end early costs, and a ticket of which no channel is removed, or of each layer the
    same share. Of dense-staged this is the second stage; `first_stage` comes before it.
    """
    made = _plan(recipe, arm, spec, searched)
    return replace(made, points=_points(recipe.evaluate, made))


def _plan(recipe: Recipe, arm: Arm, spec: Spec, searched: TicketCost | None) -> ArmPlan:
    train = recipe.train
    per_epoch = steps_per_epoch(training_images(recipe.data, spec), train.batch)
    full = train.iterations or train.epochs * per_epoch
    short = train.ticket_iterations or train.ticket_epochs * per_epoch
    if arm in ("dense", "dense-best"):
        return ArmPlan(arm, train, full, per_epoch)
    if arm == "dense-short":
        return ArmPlan(arm, train, short, per_epoch)
    if arm == "dense-equal-cost":
        steps = _equal_cost_steps(recipe, spec, short, per_epoch, searched)
        return ArmPlan(arm, train, steps, per_epoch)
    if arm == "dense-staged":
        return ArmPlan(arm, train, _staged_steps(recipe, spec, short, searched), per_epoch)
    if arm == "dense-search-lr":
        slow = replace(train, lr=recipe.search.lr, warmup=0.0, warmup_lr=0.0)
        return ArmPlan(arm, slow, full, per_epoch)
    if arm == "dense-narrow-flops":
        return ArmPlan(arm, train, short, per_epoch, size="flops")
    if arm == "dense-narrow-weights":
        return ArmPlan(arm, train, short, per_epoch, size="weights")
    return ArmPlan(arm, train, short, per_epoch, from_ticket=True)


def first_stage(recipe: Recipe, spec: Spec, searched: TicketCost | None = None) -> ArmPlan:
    """What dense-staged trains first: the whole net as the search does, in one go, for the search's FLOPs.

    On the search's images and schedule, to a step, rounded up in dense's favour. `searched` is as in `plan`.
    """
    search = recipe.search
    training = Training(**{field.name: getattr(search, field.name) for field in fields(Training)})
    step = training_passes(training, 1).cost
    if searched is not None:
        steps = -(-searched.search // (step * searched.dense))
    else:
        steps = math.ceil(search_cost(recipe, spec) / step)
    per_epoch = search_plan(recipe, spec).per_epoch
    return ArmPlan(FIRST_STAGE, training, steps, per_epoch, images=search.images)


def _points(evaluate: Evaluate, made: ArmPlan) -> tuple[int, ...]:
    """Steps within the first epochs, evenly spread, from 0 on; where epochs end is validated anyway."""
    n = evaluate.early_points
    steps = [
        epoch * made.per_epoch + made.per_epoch * part // n
        for epoch in range(evaluate.early_epochs)
        for part in range(n)
        if part or not epoch
    ]
    return tuple(
        sorted({step for step in steps if step < made.steps and (step % made.per_epoch or not step)})
    )


def search_plan(recipe: Recipe, spec: Spec) -> SearchPlan:
    """How the recipe searches on the images of `spec`.

    Raises InputError for a rewind beyond a round, or more images than training has.
    """
    search = recipe.search
    images = training_images(recipe.data, spec)
    if search.images > images:
        raise InputError(
            f"search.images is {search.images}, but training has {images} images: ask for fewer, or 0 for all"
        )
    per_epoch = steps_per_epoch(search.images or images, search.batch)
    return make_pruning_method(search).plan(per_epoch)


def check(recipe: Recipe, spec: Spec) -> None:
    """Raise InputError where a recipe asks for more images than its data set has, or too large a batch."""
    search_plan(recipe, spec)
    for arm in recipe.compare.arms:
        plan(recipe, arm, spec)
    if recipe.evaluate.images > spec.test_images:
        raise InputError(
            f"evaluate.images is {recipe.evaluate.images}, but {recipe.data.name} has {spec.test_images} "
            "test images: ask for fewer, or 0 for all"
        )


def training_passes(training: Training, steps: int) -> Passes:
    """Passes of so many steps, attack and update."""
    return make_method(training).passes(steps * training.batch).whole


def search_passes(recipe: Recipe, spec: Spec) -> Passes:
    """Passes of the whole search; at most, where it may end early."""
    return make_pruning_method(recipe.search).passes(search_plan(recipe, spec))


def pass_share(search: Search, rounds: int) -> float:
    """FLOPs of a pass after so many rounds, as a share of the whole net's.

    1 where weights are pruned, since zeros are not skipped; where channels are, as if each layer had lost the
    same share: what it makes and what it reads.
    """
    return 1.0 if search.granularity == "weight" else (1 - search.ratio) ** (2 * rounds)


def search_cost(recipe: Recipe, spec: Spec) -> float:
    """What the search costs in forward passes of the whole net; at most, where it may end early."""
    planned, passes = search_plan(recipe, spec), search_passes(recipe, spec)
    if not planned.steps:
        return passes.cost
    steps = [planned.round_steps, *[planned.round_steps - planned.rewind] * (planned.rounds - 1)]
    shares = sum(n * pass_share(recipe.search, done) for done, n in enumerate(steps))
    return passes.cost * shares / planned.steps


def _equal_cost_steps(
    recipe: Recipe, spec: Spec, short: int, per_epoch: int, searched: TicketCost | None
) -> int:
    """Steps that dense training gets for the FLOPs of search and ticket, rounded up in dense's favour.

    To whole epochs, unless the recipe's budget is in iterations. A net with zeros runs as many FLOPs as the
    dense one, one without its dead channels fewer.
    """
    ticket = training_passes(recipe.train, short).cost
    unit = 1 if recipe.train.iterations else per_epoch
    dense = training_passes(recipe.train, unit).cost
    if searched is not None:
        return -(-(searched.search + ticket * searched.ticket) // (dense * searched.dense)) * unit
    search = recipe.search
    planned = search_cost(recipe, spec) + ticket * pass_share(search, search_plan(recipe, spec).rounds)
    return math.ceil(planned / dense) * unit


def _staged_steps(recipe: Recipe, spec: Spec, short: int, searched: TicketCost | None) -> int:
    """Steps that the whole net gets for the FLOPs of the ticket's training, rounded up in dense's favour."""
    if searched is not None:
        return -(-short * searched.ticket // searched.dense)
    return math.ceil(short * pass_share(recipe.search, search_plan(recipe, spec).rounds))
