"""Budgets: the most steps whose training costs no more, held against methods step by step, and ledgers."""

from dataclasses import dataclass, replace

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.comparison.compare import compare, tasks
from robust_tickets.comparison.estimate import estimate
from robust_tickets.comparison.estimated_rates import rates_of
from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe.budget import Budget
from robust_tickets.recipe.fields import Compare, Model
from robust_tickets.recipe.methods import METHODS, make_method
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.studies import load_study
from robust_tickets.recipe.training_fields import Train
from robust_tickets.report.read import arm_result
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages.arm_rates import ArmRates
from robust_tickets.stages.budgets import steps_within
from robust_tickets.stages.costs import training_passes
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.plan import plan
from robust_tickets.stages.search import find_ticket
from robust_tickets.stages.step_lengths import TicketCost
from robust_tickets.stages.train import train_net
from robust_tickets.studies.cells import with_dense
from robust_tickets.studies.grid import make_cells
from robust_tickets.studies.jobs import in_order
from robust_tickets.training.methods.base import Step
from robust_tickets.training.methods.liet import LIETSettings
from robust_tickets.training.schedules import learning_rate
from robust_tickets.training.wrappers.awp import AWPSettings
from robust_tickets.training.wrappers.curriculum import CurriculumSettings

DIGITS = SPECS["digits"]


@dataclass
class Rates:
    """Rates of a made-up network."""

    flops: int = 1000
    pass_seconds: float = 0.5
    statistics: bool = True


WRAPPED = {
    "curriculum": {"method": "fgsm", "curriculum": CurriculumSettings(share=0.45, steps=7)},
    "awp": {"method": "liet", "awp": AWPSettings(gamma=0.01, warmup=0.4)},
}
PRICES = {"flops": 1000, "s": 0.5, "min": 0.5 / 60}


def cost_step_by_step(train, steps, unit):
    """Of a whole schedule, from what the method says of each of its steps."""
    method = make_method(train)
    passes = [method.passes(train.batch, Step(step, steps, 10)).whole for step in range(steps)]
    if unit == "passes":
        return sum(each.total for each in passes)
    return sum(each.cost for each in passes) * PRICES[unit]


@pytest.mark.parametrize("unit", ["passes", "flops", "s"])
@pytest.mark.parametrize("method", [*METHODS, "curriculum", "awp"])
def test_it_is_the_most_steps_within_the_budget(method, unit):
    fields = WRAPPED.get(method, {"method": method})
    train = replace(Train(), batch=8, liet=LIETSettings(refresh=3), **fields)
    for steps in (3, 7, 30) if method in WRAPPED else (1, 2, 7, 30):
        cost, more = (cost_step_by_step(train, n, unit) for n in (steps, steps + 1))
        for amount in (cost, more - 0.5):
            recipe = Recipe(train=replace(train, budget=Budget(f"{amount}{unit}")))
            assert plan(recipe, "dense", DIGITS, rates=Rates()).steps == steps


@pytest.mark.parametrize(("statistics", "steps", "equal"), [(True, 8, 13), (False, 9, 14)])
def test_a_budget_pays_for_an_average_s_statistics_if_any(statistics, steps, equal, tiny_recipe):
    """8 steps are two epochs with 6 batches for statistics; the search's FLOPs pay for 4.5 steps more."""
    step = 32 * 6
    train = replace(tiny_recipe.train, average=0.9, average_batches=3, budget=Budget(f"{9 * step}passes"))
    recipe = replace(tiny_recipe, train=train)
    assert plan(recipe, "dense", DIGITS, rates=Rates(statistics=statistics)).steps == steps
    cost = TicketCost(search=10**6, ticket=1000, dense=1000)
    assert plan(recipe, "dense-equal-cost", DIGITS, cost, Rates(statistics=statistics)).steps == equal


@pytest.mark.parametrize(("name", "expected"), [("lenet-300-100", False), ("resnet20", True)])
def test_rates_say_whether_a_network_has_statistics(name, expected, tiny_recipe):
    experiment = Experiment(replace(tiny_recipe, model=Model(name, width=0.5)))
    assert ArmRates(experiment, tiny_recipe.train).statistics == expected
    assert rates_of(experiment)("ticket").statistics == expected


def test_the_short_schedule_has_a_budget_of_its_own_or_the_full_one_s(tiny_recipe):
    step = 32 * (2 + 2 + 1 + 1)
    for fields, short in (({}, 9), ({"ticket_budget": Budget(f"{4 * step}passes")}, 4)):
        train = replace(tiny_recipe.train, budget=Budget(f"{9 * step}passes"), **fields)
        recipe = replace(tiny_recipe, train=train)
        plans = {arm: plan(recipe, arm, DIGITS).steps for arm in ("dense", "dense-short", "ticket")}
        assert plans == {"dense": 9, "dense-short": short, "ticket": short}
        assert train.lengths_are_equal == (short == 9)
        assert ("dense-short" in with_dense(recipe).compare.arms) == (short != 9)
    assert plan(recipe, "dense", DIGITS).epochs == 9 / 4


@pytest.mark.parametrize("schedule", ["step", "constant", "cosine", "cyclic", "one-cycle"])
def test_the_schedule_keeps_its_shape(schedule, tiny_recipe):
    """At each share of the steps the rate is that of the schedule without a budget, twice as long here."""
    train = replace(tiny_recipe.train, schedule=schedule, warmup=0.25)
    free = plan(replace(tiny_recipe, train=train), "dense", DIGITS)
    budget = Budget(f"{2 * cost_step_by_step(train, free.steps, 'passes')}passes")
    bought = plan(replace(tiny_recipe, train=replace(train, budget=budget)), "dense", DIGITS)
    assert bought.steps == 2 * free.steps
    for step in range(free.steps):
        rates = (learning_rate(p.training, i, p.steps) for p, i in ((free, step), (bought, 2 * step)))
        assert len(set(rates)) == 1


def test_equal_cost_is_rounded_up_to_a_step(tiny_recipe):
    train = replace(tiny_recipe.train, budget=Budget("960000flops"), ticket_budget=Budget("448000flops"))
    recipe = replace(tiny_recipe, train=train)
    step = 32 * 7  # passes' cost of PGD-2
    assert plan(recipe, "dense", DIGITS, rates=Rates()).steps == 960_000 // (step * 1000) == 4
    # the ticket's passes take half of the FLOPs, so that it takes twice the steps
    cost = TicketCost(search=1_000_000, ticket=500, dense=1000)
    ticket = plan(recipe, "ticket", DIGITS, cost, Rates(500))
    assert ticket.steps == 4
    equal = plan(recipe, "dense-equal-cost", DIGITS, cost, Rates())
    assert equal.steps == -(-(1_000_000 + 4 * step * 500) // (step * 1000)) == 7


@pytest.mark.parametrize(
    ("unit", "least"), [("passes", 32 * 6), ("flops", 32 * 7 * 1000)], ids=["passes", "flops"]
)
def test_a_budget_shorter_than_a_step_is_refused_with_what_a_step_costs(unit, least, tiny_recipe):
    def bought(amount):
        train = replace(tiny_recipe.train, budget=Budget(f"{amount}{unit}"))
        return plan(replace(tiny_recipe, train=train), "dense", DIGITS, rates=Rates()).steps

    with pytest.raises(
        InputError, match=f"shorter than one step of dense, which takes {least}{unit}: give at least"
    ):
        bought(least - 1)
    assert bought(least) == 1


def test_a_budget_without_end_is_refused(tiny_recipe):
    with pytest.raises(InputError, match=r"pays for more than 2,147,483,647 steps: give a smaller one"):
        steps_within(Budget("1e24passes"), lambda n: training_passes(tiny_recipe.train, n, 10, 4), Rates())


def test_a_budget_too_short_is_refused_before_anything_is_run(tiny_recipe, tmp_path):
    train = replace(tiny_recipe.train, budget=Budget("1e9flops"), ticket_budget=Budget("1flops"))
    experiment = Experiment(replace(tiny_recipe, train=train))
    for call in (lambda: compare(experiment, [0], tmp_path), lambda: estimate(experiment, 1)):
        with pytest.raises(InputError, match="budget 1flops is shorter than one step"):
            call()
    assert not list(tmp_path.iterdir())


def test_the_study_of_schedules_is_in_epochs(tiny_recipe):
    train = replace(tiny_recipe.train, budget=Budget("1e6passes"))
    with pytest.raises(
        InputError, match=r"study schedule: it is in epochs: use a recipe without train\.budget"
    ):
        make_cells(load_study("schedule"), replace(tiny_recipe, train=train))


def test_cells_of_a_study_share_arms_on_a_budget(tiny_recipe, tmp_path):
    """The dense arm of the second cell waits for the first one's; the ticket, of another search, does not."""
    train = replace(tiny_recipe.train, budget=Budget("1e9flops"))
    all_tasks = []
    for lr in (0.1, 0.05):
        search = replace(tiny_recipe.search, lr=lr)
        cell = replace(tiny_recipe, train=train, search=search, compare=Compare(("dense", "ticket")))
        new = tasks(Experiment(cell), [0], RunDirectory.of(tmp_path, cell))
        all_tasks += [replace(task, after=tuple(len(all_tasks) + i for i in task.after)) for task in new]
    assert [task.name.partition(",")[0] for task in all_tasks] == ["search", "ticket", "dense"] * 2
    assert [task.after for task in in_order(all_tasks)] == [(), (0,), (), (), (3,), (2,)]


@pytest.fixture(scope="module")
def recipe(tiny_recipe):
    """Networks of three sizes on a budget in FLOPs."""
    return replace(
        tiny_recipe,
        model=Model("conv-2", width=0.25),
        search=replace(tiny_recipe.search, granularity="channel", rounds=1, epochs=1),
        train=replace(tiny_recipe.train, budget=Budget("1e9flops"), ticket_budget=Budget("5e8flops")),
        compare=Compare(("dense", "ticket", "dense-narrow-flops", "dense-equal-cost")),
    )


def test_the_ledger_of_a_ticket_without_channels_keeps_within_its_budget(recipe):
    experiment = Experiment(recipe)
    ticket, _ = find_ticket(experiment, 0)
    whole, small = (ArmRates(experiment, recipe.train, each) for each in (None, ticket))
    assert small.flops < whole.flops
    schedule = plan(recipe, "ticket", DIGITS, rates=small)
    assert schedule.steps > plan(recipe, "ticket", DIGITS, rates=whole).steps
    work, _ = train_net(experiment, 0, schedule, ticket)
    flops = work.ledger.charged_flops
    assert flops <= 5e8 < flops + flops / schedule.steps


@pytest.mark.slow
def test_the_ledgers_of_a_comparison_keep_within_their_budgets_and_the_estimate_does(
    recipe, compare_quickly, tmp_path
):
    planned = estimate(Experiment(recipe), 1).rows.set_index("arm")
    run = compare_quickly(Experiment(recipe), [0], tmp_path)
    for arm, amount in (("dense", 1e9), ("ticket", 5e8), ("dense-narrow-flops", 5e8)):
        result = arm_result(run, 0, arm)
        steps, flops = result.history[-1]["step"], result.ledger["charged_flops"]
        assert flops <= amount < flops + flops / steps
        assert result.about["epochs"] == steps / 4
        assert 0.7 * amount < planned.flops[arm] <= amount  # the ticket's size is a guess beforehand
    ticket, equal = (arm_result(run, 0, arm) for arm in ("ticket", "dense-equal-cost"))
    step = equal.charged("flops") / equal.history[-1]["step"]
    assert ticket.charged("flops") <= equal.charged("flops") < ticket.charged("flops") + step
