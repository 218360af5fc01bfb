"""Equal cost is arithmetic, and the arithmetic is what the ledger then counts."""

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
    # a ticket of channels runs fewer FLOPs, in the search's later rounds too
    share = planning.pass_share(recipe.search, recipe.search.rounds)
    ticket = (
        planning.search_cost(recipe, spec) + planning.training_passes(recipe.train, short.steps).cost * share
    )
    unit = 1 if recipe.train.iterations else equal.per_epoch
    assert equal.steps % unit == 0
    enough, less = (planning.training_passes(recipe.train, n).cost for n in (equal.steps, equal.steps - unit))
    assert enough >= ticket > less


def test_cost_of_one_epoch_by_hand(tiny_recipe):
    # 128 images; PGD-2: 2 forwards, 2 backwards to the input; update: a forward, a full backward (costs 2)
    assert planning.training_passes(tiny_recipe.train, 4).cost == 128 * (2 + 2 + 1 + 2)
    # FGSM, 2 rounds of 2 epochs
    assert planning.search_passes(tiny_recipe, DIGITS).cost == 2 * 2 * 128 * (1 + 1 + 1 + 2)
    # 20/7 epochs of search, rounded up
    assert planning.plan(tiny_recipe, "dense-equal-cost", DIGITS).epochs == 2 + 3


def test_a_budget_in_iterations_is_met_exactly(tiny_recipe):
    train = replace(tiny_recipe.train, iterations=13, ticket_iterations=7)
    search = replace(tiny_recipe.search, iterations=5, rounds=3, rewind_iterations=2)
    recipe = replace(tiny_recipe, train=train, search=search)
    assert planning.plan(recipe, "dense", DIGITS).steps == 13
    assert planning.plan(recipe, "dense", DIGITS).epochs == 13 / 4
    assert (
        planning.plan(recipe, "ticket", DIGITS).steps
        == planning.plan(recipe, "dense-short", DIGITS).steps
        == 7
    )
    assert planning.search_plan(recipe, DIGITS).steps == 5 + 3 + 3
    # the search's step costs 5 a sample, training's 7: 11 * 5 / 7 + 7, rounded up to a step
    assert planning.plan(recipe, "dense-equal-cost", DIGITS).steps == 8 + 7


def test_a_rewind_in_epochs_is_one_in_steps(tiny_recipe):
    one = replace(tiny_recipe, search=replace(tiny_recipe.search, rewind_epochs=1))
    other = replace(tiny_recipe, search=replace(tiny_recipe.search, rewind_iterations=4))
    assert planning.search_plan(one, DIGITS) == planning.search_plan(other, DIGITS)


def test_a_rewind_beyond_a_round_is_refused(tiny_recipe):
    recipe = replace(tiny_recipe, search=replace(tiny_recipe.search, rewind_iterations=8))
    with pytest.raises(InputError, match=r"search\.rewind_iterations means step 8.* only 8 steps"):
        planning.check(recipe, DIGITS)


def test_only_the_handicapped_baseline_has_another_rate(tiny_recipe):
    recipe = replace(tiny_recipe, search=replace(tiny_recipe.search, lr=0.003))
    for arm in ("dense", "dense-short", "dense-equal-cost", "ticket"):
        assert planning.plan(recipe, arm, DIGITS).training == recipe.train
    slow = planning.plan(recipe, "dense-search-lr", DIGITS)
    assert slow.training.lr == 0.003
    assert slow.epochs == recipe.train.epochs
    assert (
        planning.plan(recipe, "dense-short", DIGITS).epochs == planning.plan(recipe, "ticket", DIGITS).epochs
    )


@pytest.mark.parametrize("changes", [{}, {"rounds": 3, "rewind_iterations": 3, "iterations": 7}], ids=str)
def test_planned_passes_are_those_of_the_ledgers(changes, tiny_recipe, machine, tmp_path):
    recipe = replace(
        tiny_recipe,
        train=replace(tiny_recipe.train, pgd=PGDSettings(steps=3, rel_step=0.5)),
        search=replace(tiny_recipe.search, **changes),
    )
    what, run = Experiment(recipe), RunDirectory.of(tmp_path, recipe)
    ticket = Ticket.load(search_stage.search(what, 0, run, machine))
    assert ticket.passes == planning.search_passes(recipe, DIGITS).total
    plan = planning.plan(recipe, "dense", DIGITS)
    arm = train_stage.train(what, 0, run, machine, plan, None)
    ledger = read_json(arm.ledger)
    assert ledger["charged_passes"] == planning.training_passes(plan.training, plan.steps).total
