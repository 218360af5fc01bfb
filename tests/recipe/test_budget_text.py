"""Budgets are recorded as written, and refused where they are none, with an example."""

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.cli.parse import parse
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.budget import Budget


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("2e6passes", 2e6, "passes"),
        ("2000000 passes", 2e6, "passes"),
        ("1.5e15flops", 1.5e15, "flops"),
        ("1.5E15 FLOPs", 1.5e15, "flops"),
        (".5e+1flops", 5, "flops"),
        ("7.passes", 7, "passes"),
    ],
)
def test_the_text_is_unchanged_and_read(text, amount, unit):
    budget = Budget(text)
    assert budget.text == str(budget) == text
    assert (budget.amount, budget.unit) == (amount, unit)


@pytest.mark.parametrize(
    "text", ["", " ", "30", "passes", "2e6", "2e6 steps", "e6passes", "1,000passes", "0x1passes", "nanflops"]
)
def test_what_is_no_budget_is_refused_with_examples(text):
    with pytest.raises(InputError, match=r"is no budget: write .* 2e6passes or 1.5e15flops") as caught:
        Budget(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    "text", ["0passes", "-5flops", "0.0flops", "1e-999passes", "1e999flops", "1e25passes"]
)
def test_an_amount_out_of_range_is_refused(text):
    with pytest.raises(InputError, match=r"is out of range: give an amount above 0 and up to 1e\+24"):
        Budget(text)


def test_recipes_and_flags_have_budgets_and_record_them():
    words = ["--recipe", "cifar10-cpu", "--train.budget", "2e6 passes", "--train.ticket-budget=1e9flops"]
    recipe = parse("compare", words).fields
    assert (recipe.train.budget, recipe.train.ticket_budget) == (Budget("2e6 passes"), Budget("1e9flops"))
    table = recipes.to_table(recipe)
    assert (table["train"]["budget"], table["train"]["ticket_budget"]) == ("2e6 passes", "1e9flops")
    assert recipes.from_table(table).train == recipe.train
    assert "budget" not in recipes.to_table(recipes.load("cifar10-cpu"))["train"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"budget": "2e6"}, r"train\.budget: '2e6' is no budget"),
        ({"budget": 30}, r"train\.budget: '30' is no budget"),
        ({"budget": True}, r"train\.budget must be an amount with its unit such as .*, got True"),
        ({"budget": "1e6passes", "iterations": 5, "ticket_iterations": 5}, r"leave one out"),
        ({"ticket_budget": "1e6passes"}, r"train\.ticket_budget is for .*: give both, or neither"),
    ],
    ids=str,
)
def test_budgets_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        recipes.from_table({"train": fields})


@pytest.mark.parametrize("command", ["search", "train", "compare"])
def test_a_malformed_flag_is_named(command):
    with pytest.raises(InputError, match=r"train\.budget: '2e6steps' is no budget"):
        parse(command, ["--recipe", "cifar10-cpu", "--train.budget", "2e6steps"])


BOTH = "train.epochs does nothing beside train.budget 30s, which gives the length: leave one out"


def test_epochs_and_a_budget_in_one_file_are_refused(tmp_path):
    file = tmp_path / "both.toml"
    file.write_text('[train]\nepochs = 3\nbudget = "30s"\n')
    with pytest.raises(InputError, match=f"both.toml: {BOTH}$"):
        recipes.load(str(file))
    file.write_text('[train]\nticket_epochs = 3\nbudget = "30s"\n')
    with pytest.raises(InputError, match=f"both.toml: {BOTH.replace('train.e', 'train.ticket_e')}$"):
        recipes.load(str(file))
    file.write_text('[train]\nbudget = "30s"\n')
    recipe = recipes.load(str(file))
    file.write_text(recipes.to_toml(recipe))  # every field is in it
    assert recipes.load(str(file)).train == recipe.train


def test_flags_may_give_one_length():
    command = parse("compare", ["--recipe", "cifar10-cpu", "--train.budget", "30s"])
    budget = command.fields
    for words in (
        "--train.budget 30s --train.epochs 3",
        "--train.epochs 3 --train.budget=30s --train.ticket-epochs 2",
    ):
        with pytest.raises(InputError, match=f"^{BOTH}$"):
            parse("compare", ["--recipe", "cifar10-cpu", *words.split()])
    with pytest.raises(InputError, match=f"^{BOTH}$"):
        recipes.from_table({"train": {"epochs": 3}}, budget)


def test_a_recipe_s_budget_can_be_taken_back(tmp_path):
    file = tmp_path / "budget.toml"
    file.write_text('[train]\nbudget = "30s"\n')
    train = parse(
        "compare", ["--recipe", str(file), "--train.budget", "None", "--train.epochs", "3"]
    ).fields.train
    assert (train.budget, train.epochs) == (None, 3)
    budget = recipes.load(str(file))
    assert recipes.from_table({"train": {"epochs": 3, "budget": None}}, budget).train.epochs == 3
