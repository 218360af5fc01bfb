"""The lengths of arms are arithmetic, and the ledgers count what it foresees."""

from dataclasses import replace

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe.recipe import load, shipped_names
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json
from robust_tickets.stages import plan as planning
from robust_tickets.stages import search as search_stage
from robust_tickets.stages import train as train_stage
from robust_tickets.stages.experiment import Experiment
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.methods.pgd import PGDSettings

DIGITS = SPECS["digits"]


@pytest.mark.parametrize("name", shipped_names())
def test_dense_equal_cost_gets_at_least_the_ticket_s_flops_and_no_unit_more(name):
    recipe = load(name)
    spec = SPECS[recipe.data.name]
    short, equal = (planning.plan(recipe, arm, spec) for arm in ("ticket", "dense-equal-cost"))
    # a channel ticket runs fewer FLOPs, in the search's later rounds too
    share = planning.pass_share(recipe.search, recipe.search.rounds)
    training = planning.training_passes(recipe.train, short.steps).cost * share
    ticket = planning.search_cost(recipe, spec) + training
    unit = 1 if recipe.train.iterations else equal.per_epoch
    assert equal.steps % unit == 0
    enough, less = (planning.training_passes(recipe.train, n).cost for n in (equal.steps, equal.steps - unit))
    assert enough >= ticket > less


def test_the_cost_of_an_epoch_by_hand(tiny_recipe):
    # 128 images; PGD-2: 2 forwards, 2 backwards to the input; update: a forward, a full backward (costs 2)
    assert planning.training_passes(tiny_recipe.train, 4).cost == 128 * (2 + 2 + 1 + 2)
    # FGSM, 2 rounds of 2 epochs
    assert planning.search_passes(tiny_recipe, DIGITS).cost == 2 * 2 * 128 * (1 + 1 + 1 + 2)
    # 20/7 epochs of search, rounded up
    assert planning.plan(tiny_recipe, "dense-equal-cost", DIGITS).epochs == 2 + 3


def test_equal_cost_counts_the_passes_of_an_arm_s_own_method(tiny_recipe):
    natural = replace(tiny_recipe.train, method="natural")
    lengths = planning.StepLengths(tiny_recipe, DIGITS, natural)
    # a step of natural training costs 3 a sample, one of the search 5, one of the ticket 7
    assert lengths.equal_cost == -(-(16 * 5 + 8 * 7) // (3 * 4)) * 4
    assert lengths.search_cost == -(-16 * 5 // 3)
    assert lengths.ticket_cost == -(-8 * 7 // 3)


def test_a_budget_in_iterations_is_met_exactly(tiny_recipe):
    train = replace(tiny_recipe.train, iterations=13, ticket_iterations=7)
    search = replace(tiny_recipe.search, iterations=5, rounds=3, rewind_iterations=2)
    recipe = replace(tiny_recipe, train=train, search=search)
    plans = {
        arm: planning.plan(recipe, arm, DIGITS)
        for arm in ("dense", "dense-short", "ticket", "dense-equal-cost")
    }
    assert plans["dense"].steps == 13
    assert plans["dense"].epochs == 13 / 4
    assert plans["ticket"].steps == plans["dense-short"].steps == 7
    assert planning.search_plan(recipe, DIGITS).steps == 5 + 3 + 3
    # the search's step costs 5 a sample, training's 7: 11 * 5 / 7 + 7, rounded up to a step
    assert plans["dense-equal-cost"].steps == 8 + 7


def test_a_rewind_in_epochs_is_one_in_steps(tiny_recipe):
    one = replace(tiny_recipe, search=replace(tiny_recipe.search, rewind_epochs=1))
    other = replace(tiny_recipe, search=replace(tiny_recipe.search, rewind_iterations=4))
    assert planning.search_plan(one, DIGITS) == planning.search_plan(other, DIGITS)


def test_a_rewind_beyond_a_round_is_refused(tiny_recipe):
    recipe = replace(tiny_recipe, search=replace(tiny_recipe.search, rewind_iterations=8))
    with pytest.raises(InputError, match=r"search\.rewind_iterations means step 8.* only 8 steps"):
        planning.check(recipe, DIGITS)


def test_dense_search_lr_alone_has_another_rate(tiny_recipe):
    recipe = replace(tiny_recipe, search=replace(tiny_recipe.search, lr=0.003))
    for arm in ("dense", "dense-short", "dense-equal-cost", "ticket"):
        assert planning.plan(recipe, arm, DIGITS).training == recipe.train
    slow = planning.plan(recipe, "dense-search-lr", DIGITS)
    assert slow.training == replace(recipe.train, lr=0.003, warmup=0.0, warmup_lr=0.0)
    assert slow.epochs == recipe.train.epochs


@pytest.mark.parametrize("changes", [{}, {"rounds": 3, "rewind_iterations": 3, "iterations": 7}], ids=str)
def test_planned_passes_are_those_of_the_ledgers(changes, tiny_recipe, tmp_path):
    recipe = replace(
        tiny_recipe,
        train=replace(tiny_recipe.train, epochs=1, pgd=PGDSettings(steps=3, rel_step=0.5)),
        search=replace(tiny_recipe.search, **changes),
    )
    experiment, run = Experiment(recipe), RunDirectory.of(tmp_path, recipe)
    ticket = Ticket.load(search_stage.search(experiment, 0, run))
    assert ticket.passes == planning.search_passes(recipe, DIGITS).total
    plan = planning.plan(recipe, "dense", DIGITS)
    folder = train_stage.train(experiment, 0, run, plan, None)
    passes = planning.training_passes(plan.training, plan.steps).total
    assert read_json(folder.ledger)["charged_passes"] == passes
