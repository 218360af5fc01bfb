"""The loop: train, prune, rewind."""

from dataclasses import replace

import torch

from robust_tickets.base.ledger import Ledger
from robust_tickets.models import registry
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.stages.experiment import Experiment, model_spec
from robust_tickets.tickets.search import find_ticket
from robust_tickets.training.checkpoint import load_weights
from robust_tickets.training.config import Session
from robust_tickets.training.loop import fit
from robust_tickets.training.state import copy_state


def search(recipe, data, **changes):
    recipe = replace(recipe, search=replace(recipe.search, **changes))
    net = registry.build(model_spec(recipe, data.spec), seed=0)
    how = Experiment(recipe).fit(recipe.search, recipe.search.epochs * 4, 0)
    ledger = Ledger("search")
    with ledger.measure():
        found = find_ticket(net, data, recipe.search, how, Session(ledger))
    return net, found, how, ledger


def test_one_round_is_one_shot_pruning_of_a_trained_dense_net(tiny_recipe, tiny_data):
    _, found, how, _ = search(tiny_recipe, tiny_data, rounds=1, ratio=0.8)
    dense = registry.build(model_spec(tiny_recipe, tiny_data.spec), seed=0)
    fit(dense, None, tiny_data, how, Session(Ledger("train")))
    mask = Mask.full(dense)
    score = SCORES[tiny_recipe.search.criterion]
    assert found.mask == prune(score(prunable_weights(dense), mask), mask, 0.8)


def test_rounds_are_train_prune_rewind_written_out(tiny_recipe, tiny_data):
    _, found, how, _ = search(tiny_recipe, tiny_data, rounds=3, ratio=0.3)
    net = registry.build(model_spec(tiny_recipe, tiny_data.spec), seed=0)
    init = copy_state(net)
    mask = Mask.full(net)
    for _ in range(3):
        load_weights(net, init, "init")
        fit(net, mask, tiny_data, how, Session(Ledger("train")))
        before = mask
        mask = prune(SCORES[tiny_recipe.search.criterion](prunable_weights(net), mask), mask, 0.3)
        assert all((mask[name] <= before[name]).all() for name in mask)
    assert found.mask == mask
    assert all(torch.equal(found.init[name], value) for name, value in init.items())


def test_every_round_is_recorded_and_charged(tiny_recipe, tiny_data):
    _, found, _, ledger = search(tiny_recipe, tiny_data, rounds=2, ratio=0.3)
    assert [(r["round"], r["epoch"]) for r in found.history] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert found.history[-1]["flops"] == ledger.charged_flops
    assert ledger.seconds["prune"] > 0


def test_each_adversary_of_the_search_finds_a_ticket_of_its_own(tiny_recipe, tiny_data):
    masks = [search(tiny_recipe, tiny_data, method=m, rounds=1)[1].mask for m in ("natural", "fgsm", "pgd")]
    assert all(mask.count == masks[0].count for mask in masks)
    assert masks[0] != masks[1]
    assert masks[1] != masks[2]
