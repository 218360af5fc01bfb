"""The arms of a comparison: what each trains, and for how long, by arithmetic from the recipe alone."""

from dataclasses import dataclass, replace

from robust_tickets.data import SPECS, check_place, steps_per_epoch, training_images
from robust_tickets.errors import InputError
from robust_tickets.ledger import Passes
from robust_tickets.recipe import Arm, Recipe, Training
from robust_tickets.training.methods import UPDATE_PASSES, attack_passes


@dataclass(frozen=True)
class ArmPlan:
    """One arm: its training, its epochs, and whether it starts from the ticket."""

    arm: str
    training: Training
    epochs: int
    from_ticket: bool = False


def plan(recipe: Recipe, arm: Arm) -> ArmPlan:
    """What an arm of the recipe trains.

    All arms have the schedule that was chosen for dense, in its own shape at their length; only
    dense-search-lr begins at the rate of the search, without warm-up, as the published baseline did.
    """
    train = recipe.train
    if arm == "dense":
        return ArmPlan(arm, train, train.epochs)
    if arm == "dense-short":
        return ArmPlan(arm, train, train.ticket_epochs)
    if arm == "dense-equal-cost":
        return ArmPlan(arm, train, equal_cost_epochs(recipe))
    if arm == "dense-search-lr":
        slow = replace(train, lr=recipe.search.lr, warmup=0.0, warmup_lr=0.0)
        return ArmPlan(arm, slow, train.epochs)
    return ArmPlan(arm, train, train.ticket_epochs, from_ticket=True)


def check(recipe: Recipe) -> None:
    """Raise InputError where a recipe asks for more images than its data set has, or too large a batch."""
    spec = SPECS[recipe.data.name]
    check_place(recipe.data)
    images = training_images(recipe.data)
    for training in (recipe.search, recipe.train):
        steps_per_epoch(images, training.batch)
    if recipe.evaluate.images > spec.test_images:
        raise InputError(
            f"evaluate.images is {recipe.evaluate.images}, but {recipe.data.name} has {spec.test_images} "
            "test images: ask for fewer, or 0 for all"
        )


def epoch_passes(recipe: Recipe, training: Training) -> Passes:
    """Passes of one epoch, attack and update."""
    batch = training.batch
    samples = steps_per_epoch(training_images(recipe.data), batch) * batch
    passes = attack_passes(training).times(samples)
    passes.add(UPDATE_PASSES.times(samples))
    return passes


def search_passes(recipe: Recipe) -> Passes:
    """Passes of the whole search."""
    return epoch_passes(recipe, recipe.search).times(recipe.search.rounds * recipe.search.epochs)


def equal_cost_epochs(recipe: Recipe) -> int:
    """Epochs that dense training gets for the FLOPs of search and ticket, rounded up in dense's favour.

    A masked net runs as many FLOPs as the dense one, so the net's own FLOPs cancel.
    """
    per_epoch = epoch_passes(recipe, recipe.train).cost
    ticket = search_passes(recipe).cost + recipe.train.ticket_epochs * per_epoch
    return -(-ticket // per_epoch)
