"""Iterative magnitude pruning: train, prune, rewind."""

from dataclasses import replace

import pytest
from training_case import same_state, train

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.progress import StageProgress
from robust_tickets.models.weights import copy_state, load_weights
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.stages import plan as planning


@pytest.mark.parametrize("after", ["rewind", "fine-tune"])
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
        init = copy_state(net) if after == "fine-tune" else init
    assert result.mask == mask
    assert same_state(result.init, init)


def test_every_round_is_recorded_and_charged(tiny_recipe, search_of):
    ledger = Ledger("search")
    result = search_of(tiny_recipe, rounds=2, ratio=0.3).run(ledger=ledger)
    assert [(r["round"], r["epoch"]) for r in result.history] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert result.rounds == 2
    assert result.history[-1]["flops"] == ledger.charged_flops
    assert ledger.seconds["prune"] > 0


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
    assert ledger.charged_passes == planning.search_passes(search.recipe, tiny_data.spec).total
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
