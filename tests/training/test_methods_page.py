"""docs/methods.md: each method is in its table, with the cost that the method itself says."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from method_case import method_of

from robust_tickets.recipe.methods import METHODS
from robust_tickets.training.methods.base import Step

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
COSTS = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", PAGE, re.MULTILINE))
STEP = Step(1, 40, classes=10)


def test_every_method_is_in_the_table_and_has_a_paragraph():
    assert COSTS.keys() == METHODS.keys()
    assert all(f"**`{name}`**" in PAGE for name in METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_the_cost_is_the_methods_own(name):
    method, cost = method_of(name), COSTS[name]
    units = method.passes(1, STEP).whole.cost
    if "steps" in cost:
        base = int(re.search(r"\+ (\d+)", cost)[1])
        assert units == 2 * method.settings.steps + base == int(re.search(r"\((\d+)\)", cost)[1])
        return
    assert units == int(cost.split(",")[0])
    if "constant_start" in cost:
        other = method_of(name, constant_start=True)
        assert other.passes(1, replace(STEP, number=1)).whole.cost == int(re.search(r"or (\d+)", cost)[1])


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("begin", [0, 3, 20])
def test_the_steps_of_a_schedule_cost_together_what_each_costs(name, begin):
    method, count = method_of(name), 47
    each = [method.passes(8, Step(number, count, classes=10)).whole for number in range(begin, count)]
    whole = method.schedule_passes(8, begin, count, 10).whole
    assert whole.total == sum(passes.total for passes in each)
    assert whole.cost == sum(passes.cost for passes in each)
