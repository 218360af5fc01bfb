"""Equal cost is arithmetic, and the arithmetic is what the ledger then counts."""

from dataclasses import replace

import pytest

from robust_tickets import arms, stages
from robust_tickets.data import SPECS
from robust_tickets.errors import InputError
from robust_tickets.recipe import load, shipped
from robust_tickets.runs import RunDirectory, read_json
from robust_tickets.settings import Pgd
from robust_tickets.stages import Experiment
from robust_tickets.tickets import Ticket

DIGITS = SPECS["digits"]


@pytest.mark.parametrize("name", shipped())
def test_dense_equal_cost_gets_at_least_the_ticket_s_flops_and_no_unit_more(name):
    recipe = load(name)
    spec = SPECS[recipe.data.name]
    short, equal = (arms.plan(recipe, arm, spec) for arm in ("ticket", "dense-equal-cost"))
    # a ticket of channels runs fewer FLOPs, in the search's later rounds too
    share = arms.pass_share(recipe.search, recipe.search.rounds)
    ticket = arms.search_cost(recipe, spec) + arms.training_passes(recipe.train, short.steps).cost * share
    unit = 1 if recipe.train.iterations else equal.per_epoch
    assert equal.steps % unit == 0
    enough, less = (arms.training_passes(recipe.train, n).cost for n in (equal.steps, equal.steps - unit))
    assert enough >= ticket > less


def test_cost_of_one_epoch_by_hand(tiny_recipe):
    # 128 images; PGD-2: 2 forwards, 2 backwards to the input; update: a forward, a full backward (costs 2)
    assert arms.training_passes(tiny_recipe.train, 4).cost == 128 * (2 + 2 + 1 + 2)
    # FGSM, 2 rounds of 2 epochs
    assert arms.search_passes(tiny_recipe, DIGITS).cost == 2 * 2 * 128 * (1 + 1 + 1 + 2)
    # 20/7 epochs of search, rounded up
    assert arms.plan(tiny_recipe, "dense-equal-cost", DIGITS).epochs == 2 + 3


def test_a_budget_in_iterations_is_met_exactly(tiny_recipe):
    train = replace(tiny_recipe.train, iterations=13, ticket_iterations=7)
    search = replace(tiny_recipe.search, iterations=5, rounds=3, rewind_iterations=2)
    recipe = replace(tiny_recipe, train=train, search=search)
    assert arms.plan(recipe, "dense", DIGITS).steps == 13
    assert arms.plan(recipe, "dense", DIGITS).epochs == 13 / 4
    assert arms.plan(recipe, "ticket", DIGITS).steps == arms.plan(recipe, "dense-short", DIGITS).steps == 7
    assert arms.search_plan(recipe, DIGITS).steps == 5 + 3 + 3
    # the search's step costs 5 a sample, training's 7: 11 * 5 / 7 + 7, rounded up to a step
    assert arms.plan(recipe, "dense-equal-cost", DIGITS).steps == 8 + 7


def test_a_rewind_in_epochs_is_one_in_steps(tiny_recipe):
    one = replace(tiny_recipe, search=replace(tiny_recipe.search, rewind_epochs=1))
    other = replace(tiny_recipe, search=replace(tiny_recipe.search, rewind_iterations=4))
    assert arms.search_plan(one, DIGITS) == arms.search_plan(other, DIGITS)


def test_a_rewind_beyond_a_round_is_refused(tiny_recipe):
    recipe = replace(tiny_recipe, search=replace(tiny_recipe.search, rewind_iterations=8))
    with pytest.raises(InputError, match=r"search\.rewind_iterations means step 8.* only 8 steps"):
        arms.check(recipe, DIGITS)


def test_only_the_handicapped_baseline_has_another_rate(tiny_recipe):
    recipe = replace(tiny_recipe, search=replace(tiny_recipe.search, lr=0.003))
    for arm in ("dense", "dense-short", "dense-equal-cost", "ticket"):
        assert arms.plan(recipe, arm, DIGITS).training == recipe.train
    slow = arms.plan(recipe, "dense-search-lr", DIGITS)
    assert slow.training.lr == 0.003
    assert slow.epochs == recipe.train.epochs
    assert arms.plan(recipe, "dense-short", DIGITS).epochs == arms.plan(recipe, "ticket", DIGITS).epochs


@pytest.mark.parametrize("changes", [{}, {"rounds": 3, "rewind_iterations": 3, "iterations": 7}], ids=str)
def test_planned_passes_are_those_of_the_ledgers(changes, tiny_recipe, machine, tmp_path):
    recipe = replace(
        tiny_recipe,
        train=replace(tiny_recipe.train, pgd=Pgd(steps=3, rel_step=0.5)),
        search=replace(tiny_recipe.search, **changes),
    )
    what, run = Experiment(recipe), RunDirectory.of(tmp_path, recipe)
    ticket = Ticket.load(stages.search(what, 0, run, machine))
    assert ticket.passes == arms.search_passes(recipe, DIGITS).total
    plan = arms.plan(recipe, "dense", DIGITS)
    folder = stages.train(what, 0, run, machine, plan, None)
    ledger = read_json(folder / "ledger.json")
    assert ledger["charged_passes"] == arms.training_passes(plan.training, plan.steps).total
