"""Iterative magnitude pruning: train, prune, rewind to the init or to step k."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from training_case import same_state, train

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
from robust_tickets.stages import costs
from robust_tickets.training.config import Session
from robust_tickets.training.loop import fit
from robust_tickets.training.optimisers import make_optimiser
from robust_tickets.training.schedules import learning_rate


@pytest.mark.parametrize("after", ["rewind", "lr-rewind"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_rounds_are_training_and_pruning_written_out(rounds, after, tiny_recipe, tiny_data, search_of):
    """From the init again, or on from the trained weights; one round is one-shot pruning."""
    search = search_of(tiny_recipe, rounds=rounds, ratio=0.3, after=after)
    result, net = search.run(), search.net()
    init, mask = copy_state(net), Mask.full(net)
    for _ in range(rounds):
        load_weights(net, init, "init")
        train(net, mask, tiny_data, search.config)
        scores = SCORES[tiny_recipe.search.criterion](prunable_weights(net), mask)
        sparser = prune(scores, mask, 0.3)
        assert all((sparser[name] <= mask[name]).all() for name in mask)
        mask = sparser
        init = copy_state(net) if after == "lr-rewind" else init
    assert result.mask == mask
    assert same_state(result.init, init)


def test_each_training_method_of_the_search_finds_another_ticket(tiny_recipe, search_of):
    methods = ("natural", "fgsm", "pgd")
    masks = [search_of(tiny_recipe, method=method, rounds=1).run().mask for method in methods]
    assert all(mask.count == masks[0].count for mask in masks)
    assert masks[0] != masks[1]
    assert masks[1] != masks[2]


def test_a_search_on_a_part_of_the_images_sees_no_others(tiny_recipe, tiny_data, search_of):
    ledger, search = Ledger("search"), search_of(tiny_recipe, images=64, rounds=1)
    part = replace(tiny_data, train=tiny_data.train.first(64))
    again = search_of(tiny_recipe, part, iterations=4, rounds=1)
    assert search.config.steps == again.config.steps == 2 * 2
    assert search.run(ledger=ledger).mask == again.run().mask
    assert ledger.charged_passes == costs.search_passes(search.recipe, tiny_data.spec).total
    assert ledger.charged_passes == 2 * 64 * 4  # two epochs of FGSM: attack 2, update 2


def test_more_images_than_training_has_are_refused(tiny_recipe, search_of):
    with pytest.raises(InputError, match=r"search.images is 129, but training has 128 images"):
        _ = search_of(tiny_recipe, images=129).plan


def test_a_search_that_cannot_prune_is_refused_before_a_step_is_taken(tiny_recipe, search_of):
    class Never(StageProgress):
        def advance(self, steps, passes):
            raise AssertionError("trained for nothing")

    with pytest.raises(InputError, match="'stem' fits no weight"):
        search_of(tiny_recipe, ignored_layers="stem").run(session={"meter": Never()})


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
        optimiser = make_optimiser(by_hand, tiny_data.spec.shape, recipe.search)
        by_hand.train()
        with torch.no_grad():
            for p, entries in masks.items():
                p.mul_(entries)
        for step in range(k if number else 0, STEPS):
            if number == 0 and step == k:
                early = copy_state(by_hand)
            epoch, position = step // 4 + 1, step % 4
            stream = batches(tiny_data.train, tiny_data.spec, 32, seed=0, epoch=epoch, channels_last=True)
            images, labels, *_ = list(stream)[position]
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
    plan, settings = search.plan, search.recipe.search
    passes = costs.training_passes(settings, plan.steps, 10, plan.per_epoch)
    assert ledger.charged_passes == passes.total
    assert result.history[-1]["passes"] == ledger.charged_passes
    rounds = [(record["round"], record["epoch"], record["step"]) for record in result.history]
    assert rounds == [(1, 1, 4), (1, 2, 8), (1, 3, 10), (2, 2, 8), (2, 3, 10), (3, 2, 8), (3, 3, 10)]


@pytest.mark.parametrize("fields", [{"rewind_iterations": 10}, {"rewind_epochs": 3}])
def test_a_step_beyond_the_round_is_refused(fields, recipe, search_of):
    with pytest.raises(InputError, match=r"search\.rewind_\w+ means step 1\d, .* only 10 steps"):
        _ = search_of(recipe, **fields).plan
