"""Flags of the command line override single fields of the recipe."""

from dataclasses import replace

from robust_tickets.cli.parse import parse
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.checks import NETS, WITH_DROPOUT
from robust_tickets.recipe.fields import Compare


def test_the_recipe_is_read_as_it_is():
    for name in ("cifar10-cpu-fast", "paper-wrn34-10"):
        assert parse("search", ["--recipe", name]).fields == recipes.load(name)
    assert parse("compare", ["--recipe=demo"]).fields == recipes.load("demo")


def test_flags_override_their_own_fields_alone():
    demo = recipes.load("demo")
    flags = "--search.lr 0.5 --search.pgd.steps 3 --threat.eps 2/255 --compare.arms dense"
    recipe = parse("compare", ["--recipe", "demo", *flags.split()]).fields
    search = replace(demo.search, lr=0.5, pgd=replace(demo.search.pgd, steps=3))
    assert recipe.threat.eps.text == "2/255"
    assert recipe == replace(demo, search=search, threat=recipe.threat, compare=Compare(arms=("dense",)))


def test_flags_may_come_before_the_recipe():
    before = parse("search", ["--search.lr", "0.5", "--recipe", "demo"])
    assert before == parse("search", ["--recipe", "demo", "--search.lr", "0.5"])


def test_of_two_recipes_the_reported_one_is_the_one_read():
    command = parse("search", ["--recipe", "demo", "--recipe", "cifar10-cpu"])
    assert command.fields == recipes.load(command.recipe)


def test_the_recipe_and_the_registry_have_the_same_networks():
    """The recipe is read without torch, so it has a list of its own."""
    from robust_tickets.models.registry import NAMES, ModelSpec, build

    assert set(NETS) == set(NAMES)
    for name in NETS:
        spec = ModelSpec(name, 0.1, (3, 32, 32), 10, (0.0,) * 3, (1.0,) * 3, dropout=0.5)
        net = build(spec, seed=0)
        assert any(getattr(module, "p", 0) == 0.5 for module in net.modules()) == (name in WITH_DROPOUT)
