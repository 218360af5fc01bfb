"""What searches and trainings cost, by arithmetic from the recipe alone."""

from dataclasses import replace
from functools import cache

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.data.batches import steps_per_epoch
from robust_tickets.data.dataset import Spec, count_training_images
from robust_tickets.models import registry
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.registry import ModelSpec
from robust_tickets.recipe.fields import Data
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.pruning_methods import make_pruning_method
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Search, Train, Training
from robust_tickets.stages.specs import model_spec
from robust_tickets.tickets.methods.base import SearchPlan
from robust_tickets.training.methods.base import Step


def search_plan(recipe: Recipe, spec: Spec) -> SearchPlan:
    """Plan the search of a recipe on the images of `spec`.

    Raises InputError for a rewind step beyond a round, or more images than training has.
    """
    search = recipe.search
    images = training_images(recipe.data, spec, search, "search.images")
    return make_pruning_method(search).plan(steps_per_epoch(images, search.batch, "search.batch"))


def training_images(data: Data, spec: Spec, training: Training, name: str) -> int:
    """The number of images that a training uses.

    name: of its field of them, for the message.
    Raises InputError for more than there are, and for fewer than a batch.
    """
    images = count_training_images(data, spec)
    if training.images > images:
        raise InputError(
            f"{name} is {training.images}, but training has {images} images: ask for fewer, or 0 for all"
        )
    if 0 < training.images < training.batch:
        raise InputError(f"{name} is {training.images}, fewer than a batch of {training.batch}: ask for more")
    return training.images or images


def training_passes(
    training: Training, steps: int, classes: int, per_epoch: int, statistics: bool = True
) -> Passes:
    """Passes of a schedule: attack, update, and those that estimate the statistics of a weight average.

    steps: its optimiser steps; 0: the network is kept as it starts, but for its own statistics.
    per_epoch: those of an epoch.
    classes: of the images.
    statistics: whether the network has BatchNorm statistics.
    """
    if not steps:
        return _statistics_passes(training, classes, per_epoch) if statistics else Passes()
    passes = step_passes(training, steps, classes)
    if isinstance(training, Train) and training.average and statistics:
        epochs, rest = divmod(steps, per_epoch)
        batches = epochs * min(training.average_batches, per_epoch) + min(training.average_batches, rest)
        passes.add(Passes(forward=batches * training.batch))
    return passes


def _statistics_passes(training: Training, classes: int, per_epoch: int) -> Passes:
    """Passes that estimate the BatchNorm statistics of a network that is not trained."""
    count = min(training.average_batches, per_epoch) if isinstance(training, Train) else 0
    method, passes = make_method(training), Passes(forward=2 * count * training.batch)
    for number in range(count):
        passes.add(method.passes(training.batch, Step(number, count, classes)).attack)
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


def round_shares(recipe: Recipe, spec: Spec) -> list[float]:
    """FLOPs of a pass of the network of each round of a search, as a share of the recipe's network's."""
    method = make_pruning_method(recipe.search)
    if method.trains_smaller_networks:
        return [pass_share(recipe.search, rounds) for rounds in range(method.rounds)]
    whole = model_spec(recipe, spec)
    names = [method.network(number) for number in range(1, method.rounds + 1)]
    return [_flops(replace(whole, name=name)) / _flops(whole) if name else 1.0 for name in names]


@cache
def _flops(spec: ModelSpec) -> int:
    return forward_flops(registry.build(spec, seed=0), spec.shape)


def search_cost(recipe: Recipe, spec: Spec) -> float:
    """Cost of the search in forward passes of the whole network; at most, where it may end early."""
    search, passes = search_plan(recipe, spec), search_passes(recipe, spec)
    if not search.steps:
        return passes.cost
    shares = round_shares(recipe, spec)
    weighted = sum(n * share for n, share in zip(search.steps_of_rounds, shares, strict=True))
    return passes.cost * weighted / search.steps
