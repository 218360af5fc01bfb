"""Rewinding to step k: the state, the batches and the rates of step k, bit for bit."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.progress import StageProgress
from robust_tickets.data.batches import batches
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe.fields import Model
from robust_tickets.stages import plan as planning
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.search import find_ticket
from robust_tickets.training.checkpoint import load_weights
from robust_tickets.training.config import Session
from robust_tickets.training.loop import fit
from robust_tickets.training.optimisers import make_optimiser
from robust_tickets.training.schedules import learning_rate
from robust_tickets.training.state import copy_state

STEPS = 10  # two epochs of 4 steps and half of a third
RATIO = 0.3


class StoppedError(Exception):
    """A training that was stopped on purpose."""


class Until(StageProgress):
    """A meter that stops the training after so many steps."""

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


def search(recipe, data, machine, **changes):
    recipe = replace(recipe, search=replace(recipe.search, **changes))
    net = Experiment(recipe).fresh_net(0, machine)
    plan = planning.search_plan(recipe, data.spec)
    how = Experiment(recipe).fit(recipe.search, plan.round_steps, 0)
    ledger = Ledger("search")
    found = find_ticket(net, data, recipe.search, how, Session(ledger), rewind=plan.rewind)
    return net, found, how, ledger, plan


def equal(one, other):
    return list(one) == list(other) and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize(("k", "method"), [(1, "natural"), (4, "fgsm"), (6, "fgsm"), (9, "natural")])
def test_the_init_is_the_state_of_a_training_stopped_after_k_steps(k, method, recipe, tiny_data, machine):
    _, found, how, _, _ = search(recipe, tiny_data, machine, rewind_iterations=k, rounds=1, method=method)
    plain = Experiment(recipe).fresh_net(0, machine)
    with pytest.raises(StoppedError):
        fit(plain, None, tiny_data, how, Session(Ledger("train"), Until(k)))
    assert equal(found.init, copy_state(plain))
    counters = [value for name, value in found.init.items() if name.endswith("num_batches_tracked")]
    assert counters
    assert all(int(value) == k for value in counters)


def test_without_rewinding_it_is_the_untrained_net(recipe, tiny_data, machine):
    _, found, _, _, plan = search(recipe, tiny_data, machine, rounds=1)
    assert plan.rewind == 0
    assert equal(found.init, copy_state(Experiment(recipe).fresh_net(0, machine)))


@pytest.mark.parametrize("k", [2, 4, 7])
def test_later_rounds_are_the_loop_from_step_k_written_out(k, recipe, tiny_data, machine):
    net, found, *_ = search(recipe, tiny_data, machine, rewind_iterations=k, rounds=3)
    assert recipe.compute.channels_last
    score = SCORES[recipe.search.criterion]
    by_hand = Experiment(recipe).fresh_net(0, machine)
    mask, early = Mask.full(by_hand), copy_state(by_hand)
    for number in range(3):
        load_weights(by_hand, early, "init")
        pruned = {p: mask[name] for name, p in prunable_weights(by_hand).items()}
        optimiser = make_optimiser(by_hand, recipe.search)
        by_hand.train()
        with torch.no_grad():
            for p, keep in pruned.items():
                p.mul_(keep)
        for step in range(k if number else 0, STEPS):
            if number == 0 and step == k:
                early = copy_state(by_hand)
            epoch, place = step // 4 + 1, step % 4
            stream = batches(tiny_data.train, tiny_data.spec, 32, seed=0, epoch=epoch, channels_last=True)
            images, labels, _ = list(stream)[place]
            optimiser.param_groups[0]["lr"] = learning_rate(recipe.search, step, STEPS)
            optimiser.zero_grad()
            F.cross_entropy(by_hand(images), labels).backward()
            with torch.no_grad():
                for p, keep in pruned.items():
                    p.grad.mul_(keep)
                optimiser.step()
                for p, keep in pruned.items():
                    p.mul_(keep)
        mask = prune(score(prunable_weights(by_hand), mask), mask, RATIO)
    assert found.mask == mask
    assert equal(found.init, early)
    assert equal(copy_state(net), copy_state(by_hand))


def test_epochs_are_so_many_steps(recipe, tiny_data, machine):
    _, by_epochs, *_ = search(recipe, tiny_data, machine, rewind_epochs=2, rounds=2)
    _, by_steps, *_ = search(recipe, tiny_data, machine, rewind_iterations=8, rounds=2)
    assert equal(by_epochs.init, by_steps.init)
    assert by_epochs.mask == by_steps.mask
    assert by_epochs.history == by_steps.history


def test_only_the_steps_that_are_taken_are_charged(recipe, tiny_data, machine):
    _, found, how, ledger, plan = search(recipe, tiny_data, machine, rewind_iterations=6, rounds=3)
    assert plan.steps == 10 + 2 * 4
    assert ledger.charged_passes == planning.training_passes(how.settings, plan.steps).total
    assert found.history[-1]["passes"] == ledger.charged_passes
    rounds = [(record["round"], record["epoch"], record["step"]) for record in found.history]
    assert rounds == [(1, 1, 4), (1, 2, 8), (1, 3, 10), (2, 2, 8), (2, 3, 10), (3, 2, 8), (3, 3, 10)]


@pytest.mark.parametrize("changes", [{"rewind_iterations": 10}, {"rewind_epochs": 3}])
def test_a_step_beyond_the_round_is_refused(changes, recipe, tiny_data, machine):
    with pytest.raises(InputError, match=r"search\.rewind_\w+ means step 1\d, .* only 10 steps"):
        search(recipe, tiny_data, machine, **changes)
