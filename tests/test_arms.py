"""Arms: a made-up one is one record of the table; their lengths are arithmetic, and ledgers count them."""

import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.comparison.compare import tasks
from robust_tickets.comparison.estimate import estimate
from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.arm import SEARCH, Arm, Schedule, Stage
from robust_tickets.recipe.arm_checks import arm_refusal
from robust_tickets.recipe.arms import ARMS, arm_names, arm_table, arms_help, needs_ticket
from robust_tickets.recipe.fields import Compare, Model, StudySettings
from robust_tickets.recipe.recipe import Recipe, load, shipped_names
from robust_tickets.recipe.studies import load_study
from robust_tickets.report import verdict
from robust_tickets.report.read import arm_result
from robust_tickets.report.timing_text import latex, markdown
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json
from robust_tickets.stages import costs
from robust_tickets.stages import plan as planning
from robust_tickets.stages import search as search_stage
from robust_tickets.stages import train as train_stage
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.plan import plan
from robust_tickets.stages.step_lengths import StepLengths
from robust_tickets.studies.grid import make_cells
from robust_tickets.tickets.methods.random import RandomSettings
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.tickets.transforms import TRANSFORMS
from robust_tickets.training.methods.pgd import PGDSettings

DIGITS = SPECS["digits"]
COMPLETE = {
    "name": "ticket-natural",
    "help": "the ticket trained without an attack, for one step less",
    "colour": "#ABCDEF",
    "schedule": Schedule(
        lambda lengths: lengths.short - 1, settings=lambda recipe: replace(recipe.train, method="natural")
    ),
    "sentence": lambda figures: f"Without an attack it takes {figures['ticket-natural'].flops('ticket')}.",
    "network": "ticket",
    "before": SEARCH,
    "refusal": lambda recipe: "needs an attack to leave out: remove it" * (recipe.train.method == "natural"),
}


@pytest.fixture
def made_up(monkeypatch):
    """A made-up arm in the table, for one test."""
    arm = Arm(**COMPLETE)
    monkeypatch.setitem(ARMS, arm.name, arm)
    return arm


@pytest.fixture
def recipe(tiny_recipe):
    arms = ("dense", "ticket", "ticket-natural")
    return replace(tiny_recipe, compare=Compare(arms), search=replace(tiny_recipe.search, rounds=1))


def test_a_made_up_arm_is_one_record(made_up, recipe, compare_quickly, tmp_path, monkeypatch):
    monkeypatch.setattr(verdict, "arms_at_chance", lambda *_: [])  # trained so briefly, all are
    recipes.check(recipe)
    assert f"ticket-natural: {made_up.help}" in arms_help()
    assert plan(recipe, "ticket-natural", DIGITS).steps == plan(recipe, "ticket", DIGITS).steps - 1
    planned = estimate(Experiment(recipe), 1).rows.set_index("arm")
    run = compare_quickly(Experiment(recipe), [0], tmp_path, report=True)
    result, ticket = (arm_result(run, 0, name) for name in ("ticket-natural", "ticket"))
    assert result.ledger["charged_passes"] == planned.passes["ticket-natural"] == 7 * 32 * 2
    assert result.before == ticket.before
    sentence = f"Without an attack it takes {result.charged('flops') / ticket.charged('flops'):.2f}."
    for text in (markdown(run), latex(run)):
        assert "ticket-natural" in text
        assert sentence in text
    assert list(pd.read_csv(run.timing_csv).arm) == list(recipe.compare.arms)
    assert "#abcdef" in run.curves.read_text().lower()
    assert RunDirectory.open(run.path).recipe == recipe
    asked = replace(recipe, study=StudySettings(controls=("dense", "ticket", "ticket-natural")))
    assert make_cells(load_study("controls"), asked)[0].recipe.compare.arms[-1] == "ticket-natural"


def test_a_made_up_arm_is_refused_where_it_makes_no_sense(made_up, recipe):
    natural = replace(recipe, train=replace(recipe.train, method="natural"))
    with pytest.raises(
        InputError, match=r"compare\.arms ticket-natural needs an attack to leave out: remove"
    ):
        recipes.check(natural, recipe)


FAULTS = {
    "empty help": ({"help": " "}, "give it a help text"),
    "no colour": ({"colour": "blue"}, "give it a colour such as #0072B2"),
    "no sentence": ({"sentence": ""}, "give it a sentence, or no_sentence"),
    "no schedule": ({"schedule": None}, "give it a Schedule"),
    "no name": ({"name": "Ticket 2"}, "name it in small letters"),
    "narrow to nothing": ({"network": "narrow"}, "match is for network narrow"),
    "match of a ticket": ({"match": "flops"}, "match is for network narrow"),
    "transform of nothing": ({"network": "whole", "transform": "reinit"}, "transform is for network ticket"),
    "first stage": ({"before": Stage("x", COMPLETE["schedule"])}, "a first stage is for network whole"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_record_that_cannot_be_a_row_is_refused_when_it_is_made(case):
    fields, message = FAULTS[case]
    with pytest.raises(ValueError, match=message):
        Arm(**(COMPLETE | fields))


@pytest.mark.parametrize("fields", [{"colour": "#123456"}, {"name": "other"}], ids=["name", "colour"])
def test_two_arms_of_one_name_or_colour_are_refused(fields):
    with pytest.raises(ValueError, match="has the name or the colour of 'ticket-natural'"):
        arm_table([Arm(**COMPLETE), Arm(**(COMPLETE | fields))])


def test_every_transform_of_the_table_exists():
    assert {arm.transform for arm in ARMS.values()} - {""} == set(TRANSFORMS)


def test_the_table_is_free_of_torch():
    modules = "robust_tickets.recipe.arms, robust_tickets.report.pictures.all_pictures"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "False"


WITHOUT_TICKET = Recipe(compare=Compare(("dense", "dense-equal-cost")))
WITH_TICKET = Recipe(
    compare=Compare(("dense-short", "dense-equal-cost", "dense-narrow-flops", "dense", "ticket"))
)


def test_equal_cost_waits_for_the_ticket_of_its_comparison_alone():
    assert not needs_ticket("dense-equal-cost", WITHOUT_TICKET)
    assert needs_ticket("dense-equal-cost", WITH_TICKET)
    assert needs_ticket("dense-narrow-flops", WITHOUT_TICKET)


def test_a_search_comes_first_and_each_seed_begins_one_arm_further_on(tmp_path):
    run = RunDirectory.of(tmp_path, WITH_TICKET)
    planned = tasks(Experiment(WITH_TICKET), [0, 3, 4, 5], run)
    arms = ["dense-equal-cost", "dense-narrow-flops", "ticket", "dense-short", "dense"]
    orders = [arms, arms[3:] + arms[:3], arms[4:] + arms[:4], arms]
    names = [
        (arm, seed) for seed, order in zip((0, 3, 4, 5), orders, strict=True) for arm in ("search", *order)
    ]
    assert [task.name for task in planned] == [f"{arm}, seed {seed}" for arm, seed in names]
    for place, (task, (arm, _)) in enumerate(zip(planned, names, strict=True)):
        own_search = place - place % 6
        assert task.after == (() if arm in ("search", "dense-short", "dense") else (own_search,))


def test_the_arm_that_takes_the_ticket_s_seconds_comes_after_it_whichever_is_first(tmp_path):
    recipe = replace(WITH_TICKET, compare=Compare(("dense-equal-seconds", "ticket", "dense")))
    for seed in range(3):
        planned = tasks(Experiment(recipe), [seed], RunDirectory.of(tmp_path, recipe))
        names = [task.name.partition(",")[0] for task in planned]
        last = planned[names.index("dense-equal-seconds")]
        assert last.after == (0, names.index("ticket"))
        assert names.index("ticket") < names.index("dense-equal-seconds")


def test_an_arm_read_from_another_needs_it(monkeypatch):
    fields = {"name": "short-best", "best_epoch_of": "dense-short", "network": "whole", "before": None}
    record = Arm(**(COMPLETE | fields))
    monkeypatch.setitem(ARMS, "short-best", record)
    with pytest.raises(InputError, match="short-best is read from the files of dense-short: add it"):
        recipes.check(Recipe(compare=Compare(("dense", "short-best"))))


@pytest.mark.parametrize(
    ("search", "refused"),
    [
        ({}, ["ticket-shuffle-channels", "dense-staged"]),
        ({"after": "lr-rewind"}, ["ticket-shuffle-channels"]),
        (
            {"granularity": "channel"},
            [
                *("shuffle-untrained", "ticket-shuffle-layer", "ticket-shuffle-net"),
                *("ticket-shuffle-channels", "random", "dense-staged", "set", "rigl", "flying-bird"),
            ],
        ),
        (
            {"granularity": "channel", "after": "lr-rewind"},
            [
                *("shuffle-untrained", "ticket-shuffle-layer", "ticket-shuffle-net", "random"),
                *("set", "rigl", "flying-bird"),
            ],
        ),
        (
            {"pruning_method": "random"},
            [
                *("shuffle-untrained", "ticket-reinit", "ticket-shuffle-layer"),
                *("ticket-shuffle-channels", "random", "reinit-equal-cost", "dense-staged"),
            ],
        ),
        (
            {"pruning_method": "random", "random": RandomSettings("uniform")},
            [
                *("shuffle-untrained", "ticket-reinit", "ticket-shuffle-layer", "ticket-shuffle-net"),
                *("ticket-shuffle-channels", "random", "reinit-equal-cost", "dense-staged"),
            ],
        ),
    ],
    ids=str,
)
def test_an_arm_that_makes_no_sense_is_refused_with_the_reason(search, refused):
    recipe = Recipe(search=replace(Recipe().search, **search))
    assert [name for name in arm_names() if arm_refusal(name, recipe)] == refused


def test_a_network_without_a_width_has_no_narrow_arms():
    recipe = Recipe(model=Model("my:net"))
    assert {n for n in arm_names() if arm_refusal(n, recipe)} >= {
        "dense-narrow-flops",
        "dense-narrow-weights",
    }


def test_the_arm_of_another_recipe_s_ticket_is_for_no_recipe():
    assert "ticket-from" in ARMS
    with pytest.raises(InputError, match=r"unknown value for compare\.arms: 'ticket-from'"):
        recipes.check(Recipe(compare=Compare(("dense", "ticket-from"))))


DIGITS = SPECS["digits"]


@pytest.mark.parametrize("name", shipped_names())
def test_dense_equal_cost_gets_at_least_the_ticket_s_flops_and_no_unit_more(name):
    recipe = load(name)
    spec = SPECS[recipe.data.name]
    short, equal = (planning.plan(recipe, arm, spec) for arm in ("ticket", "dense-equal-cost"))
    # a channel ticket runs fewer FLOPs, in the search's later rounds too
    share = costs.pass_share(recipe.search, recipe.search.rounds)
    training = costs.training_passes(recipe.train, short.steps, 10, short.per_epoch).cost * share
    ticket = costs.search_cost(recipe, spec) + training
    unit = 1 if recipe.train.iterations else equal.per_epoch
    assert equal.steps % unit == 0
    enough, less = (
        costs.training_passes(recipe.train, n, 10, equal.per_epoch).cost
        for n in (equal.steps, equal.steps - unit)
    )
    assert enough >= ticket > less


def test_the_cost_of_an_epoch_by_hand(tiny_recipe):
    # 128 images; PGD-2: 2 forwards, 2 backwards to the input; update: a forward, a full backward (costs 2)
    assert costs.training_passes(tiny_recipe.train, 4, 10, 4).cost == 128 * (2 + 2 + 1 + 2)
    # FGSM, 2 rounds of 2 epochs
    assert costs.search_passes(tiny_recipe, DIGITS).cost == 2 * 2 * 128 * (1 + 1 + 1 + 2)
    # 20/7 epochs of search, rounded up
    assert planning.plan(tiny_recipe, "dense-equal-cost", DIGITS).epochs == 2 + 3


def test_equal_cost_counts_the_passes_of_an_arm_s_own_method(tiny_recipe):
    natural = replace(tiny_recipe.train, method="natural")
    lengths = StepLengths(tiny_recipe, DIGITS, natural)
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
    assert costs.search_plan(recipe, DIGITS).steps == 5 + 3 + 3
    # the search's step costs 5 a sample, training's 7: 11 * 5 / 7 + 7, rounded up to a step
    assert plans["dense-equal-cost"].steps == 8 + 7


def test_a_rewind_in_epochs_is_one_in_steps(tiny_recipe):
    one = replace(tiny_recipe, search=replace(tiny_recipe.search, rewind_epochs=1))
    other = replace(tiny_recipe, search=replace(tiny_recipe.search, rewind_iterations=4))
    assert costs.search_plan(one, DIGITS) == costs.search_plan(other, DIGITS)


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
    assert ticket.passes == costs.search_passes(recipe, DIGITS).total
    plan = planning.plan(recipe, "dense", DIGITS)
    folder = train_stage.train(experiment, 0, run, plan, None)
    passes = costs.training_passes(plan.training, plan.steps, 10, plan.per_epoch).total
    assert read_json(folder.ledger)["charged_passes"] == passes


@pytest.mark.parametrize(
    ("method", "arms", "select_by", "warns"),
    [
        ("natural", ("dense", "ticket"), "robust", True),
        ("natural", ("dense", "ticket"), "clean", False),
        ("natural", ("dense", "dense+pgd"), "robust", False),
        ("pgd", ("dense", "ticket"), "robust", False),
    ],
)
def test_natural_training_selected_under_attack_is_warned_of(
    method, arms, select_by, warns, tiny_recipe, spoken, tmp_path
):
    recipe = replace(
        tiny_recipe,
        train=replace(tiny_recipe.train, method=method),
        evaluate=replace(tiny_recipe.evaluate, select_by=select_by),
        compare=Compare(arms),
    )
    experiment = Experiment(recipe, machine=Machine("cpu", spoken))
    for _ in range(2):
        tasks(experiment, [0], RunDirectory.of(tmp_path, recipe))
    assert sum("select_by clean" in line for line in spoken.lines) == warns
