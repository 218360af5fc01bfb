"""Rewinding to step k: the state, the batches and the rates of step k, bit for bit."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from training_case import same_state

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.progress import StageProgress
from robust_tickets.data.batches import batches
from robust_tickets.models.weights import copy_state, load_weights
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe.fields import Model
from robust_tickets.stages import plan as planning
from robust_tickets.training.config import Session
from robust_tickets.training.loop import fit
from robust_tickets.training.optimisers import make_optimiser
from robust_tickets.training.schedules import learning_rate

STEPS = 10  # two epochs of 4 steps and half of a third
RATIO = 0.3


class StoppedError(Exception):
    """A training that was stopped on purpose."""


class StopAfter(StageProgress):
    """Stops the training after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def advance(self, steps, passes):
        self.left -= steps
        if self.left == 0:
            raise StoppedError


@pytest.fixture
def recipe(tiny_recipe):
    """A search with BatchNorm, momentum and a rate that changes with every step."""
    search = replace(
        tiny_recipe.search, method="natural", schedule="cosine", warmup=0.25, iterations=STEPS, ratio=RATIO
    )
    return replace(tiny_recipe, model=Model("resnet20", width=0.5), search=search)


@pytest.mark.parametrize(("k", "method"), [(1, "natural"), (4, "fgsm"), (6, "fgsm"), (9, "natural")])
def test_the_init_is_the_state_of_a_training_stopped_after_k_steps(k, method, recipe, tiny_data, search_of):
    search = search_of(recipe, rewind_iterations=k, rounds=1, method=method)
    result, plain = search.run(), search.net()
    with pytest.raises(StoppedError):
        fit(plain, None, tiny_data, search.config, Session(Ledger("train"), StopAfter(k)))
    assert same_state(result.init, copy_state(plain))
    counters = [value for name, value in result.init.items() if name.endswith("num_batches_tracked")]
    assert counters
    assert all(int(value) == k for value in counters)


def test_without_rewinding_to_a_step_the_init_is_that_of_the_untrained_network(recipe, search_of):
    search = search_of(recipe, rounds=1)
    assert search.plan.rewind == 0
    assert same_state(search.run().init, copy_state(search.net()))


@pytest.mark.parametrize("k", [2, 4, 7])
def test_later_rounds_are_the_loop_from_step_k_written_out(k, recipe, tiny_data, search_of):
    search = search_of(recipe, rewind_iterations=k, rounds=3)
    net, by_hand = search.net(), search.net()
    result = search.run(net)
    assert recipe.compute.channels_last
    score = SCORES[recipe.search.criterion]
    mask, early = Mask.full(by_hand), copy_state(by_hand)
    for number in range(3):
        load_weights(by_hand, early, "init")
        masks = {p: mask[name] for name, p in prunable_weights(by_hand).items()}
        optimiser = make_optimiser(by_hand, recipe.search)
        by_hand.train()
        with torch.no_grad():
            for p, entries in masks.items():
                p.mul_(entries)
        for step in range(k if number else 0, STEPS):
            if number == 0 and step == k:
                early = copy_state(by_hand)
            epoch, position = step // 4 + 1, step % 4
            stream = batches(tiny_data.train, tiny_data.spec, 32, seed=0, epoch=epoch, channels_last=True)
            images, labels, _ = list(stream)[position]
            optimiser.param_groups[0]["lr"] = learning_rate(recipe.search, step, STEPS)
            optimiser.zero_grad()
            F.cross_entropy(by_hand(images), labels).backward()
            with torch.no_grad():
                for p, entries in masks.items():
                    p.grad.mul_(entries)
                optimiser.step()
                for p, entries in masks.items():
                    p.mul_(entries)
        mask = prune(score(prunable_weights(by_hand), mask), mask, RATIO)
    assert result.mask == mask
    assert same_state(result.init, early)
    assert same_state(copy_state(net), copy_state(by_hand))


def test_only_the_steps_that_are_taken_are_charged(recipe, search_of):
    ledger, search = Ledger("search"), search_of(recipe, rewind_iterations=6, rounds=3)
    result = search.run(ledger=ledger)
    assert search.plan.steps == 10 + 2 * 4
    assert ledger.charged_passes == planning.training_passes(search.recipe.search, search.plan.steps).total
    assert result.history[-1]["passes"] == ledger.charged_passes
    rounds = [(record["round"], record["epoch"], record["step"]) for record in result.history]
    assert rounds == [(1, 1, 4), (1, 2, 8), (1, 3, 10), (2, 2, 8), (2, 3, 10), (3, 2, 8), (3, 3, 10)]


@pytest.mark.parametrize("fields", [{"rewind_iterations": 10}, {"rewind_epochs": 3}])
def test_a_step_beyond_the_round_is_refused(fields, recipe, search_of):
    with pytest.raises(InputError, match=r"search\.rewind_\w+ means step 1\d, .* only 10 steps"):
        _ = search_of(recipe, **fields).plan
