"""Equal cost is arithmetic, and the arithmetic is what the ledger then counts."""

from dataclasses import replace

import pytest

from robust_tickets import arms, stages
from robust_tickets.recipe import Pgd, load, shipped
from robust_tickets.runs import RunDirectory
from robust_tickets.tickets import Ticket


@pytest.mark.parametrize("name", shipped())
def test_dense_equal_cost_gets_at_least_the_ticket_s_flops_and_no_epoch_more(name):
    recipe = load(name)
    one = arms.epoch_passes(recipe, recipe.train).cost
    ticket = arms.search_passes(recipe).cost + recipe.train.ticket_epochs * one
    epochs = arms.plan(recipe, "dense-equal-cost").epochs
    assert epochs * one >= ticket > (epochs - 1) * one


def test_cost_of_one_epoch_by_hand(tiny_recipe):
    # 128 images; PGD-2: 2 forwards, 2 backwards to the input; update: a forward, a full backward (costs 2)
    assert arms.epoch_passes(tiny_recipe, tiny_recipe.train).cost == 128 * (2 + 2 + 1 + 2)
    # FGSM, 2 rounds of 2 epochs
    assert arms.search_passes(tiny_recipe).cost == 2 * 2 * 128 * (1 + 1 + 1 + 2)
    assert arms.equal_cost_epochs(tiny_recipe) == 2 + 3  # 20/7 epochs of search, rounded up


def test_only_the_handicapped_baseline_has_another_rate(tiny_recipe):
    recipe = replace(tiny_recipe, search=replace(tiny_recipe.search, lr=0.003))
    for arm in ("dense", "dense-short", "dense-equal-cost", "ticket"):
        assert arms.plan(recipe, arm).training == recipe.train
    assert arms.plan(recipe, "dense-search-lr").training.lr == 0.003
    assert arms.plan(recipe, "dense-search-lr").epochs == recipe.train.epochs
    assert arms.plan(recipe, "dense-short").epochs == arms.plan(recipe, "ticket").epochs


def test_planned_passes_are_those_of_the_ledgers(tiny_recipe, machine, tmp_path):
    recipe = replace(tiny_recipe, train=replace(tiny_recipe.train, pgd=Pgd(steps=3, rel_step=0.5)))
    run = RunDirectory.of(tmp_path, recipe)
    ticket = Ticket.load(stages.search(recipe, 0, run, machine))
    assert ticket.passes == arms.search_passes(recipe).total
    plan = arms.plan(recipe, "dense")
    folder = stages.train(recipe, 0, run, machine, plan, None)
    from robust_tickets.runs import read_json

    ledger = read_json(folder / "ledger.json")
    assert ledger["charged_passes"] == arms.epoch_passes(recipe, plan.training).times(plan.epochs).total
