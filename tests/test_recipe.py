"""Recipes: found by name or file, complained of by file and field, and overridden by flags."""

import dataclasses
import subprocess
import sys

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.cli import main
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Compare, Search
from robust_tickets.recipe.recipe import Recipe


@pytest.fixture
def toml(tmp_path):
    def write(text, name="mine.toml"):
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(file)

    return write


def test_the_recipes_of_the_guide_are_shipped():
    assert {"demo", "cifar10-cpu"} <= set(recipes.shipped_names())


@pytest.mark.parametrize("name", recipes.shipped_names())
def test_a_shipped_recipe_loads_under_its_own_name_and_says_what_it_is_for(name):
    whole = recipes.load(name)
    assert whole.name == name
    assert whole.summary
    recipes.check(whole)


def test_shipped_recipes_are_different_runs():
    identities = [recipes.load(name).identity for name in recipes.shipped_names()]
    assert len(set(identities)) == len(identities)


def test_identity_is_eight_hex_digits_and_the_same_in_another_process():
    code = (
        "from robust_tickets.recipe import recipe; "
        "print(recipe.Recipe().identity, recipe.load('demo').identity)"
    )
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == [Recipe().identity, recipes.load("demo").identity]
    assert len(Recipe().identity) == 8
    assert int(Recipe().identity, 16) >= 0


def test_identity_takes_the_format_version_in(monkeypatch):
    before = Recipe().identity
    monkeypatch.setattr("robust_tickets.recipe.recipe.FORMAT", recipes.FORMAT + 1)
    assert Recipe().identity != before


def test_a_file_gives_what_it_says_and_defaults_where_it_is_silent(toml):
    made = recipes.load(toml("[search]\nlr = 0.5\n"))
    assert made == Recipe(name="mine", search=Search(lr=0.5))


def test_a_file_may_name_itself(toml):
    assert recipes.load(toml('name = "other"\n')).name == "other"


def test_a_file_needs_no_suffix(toml):
    assert recipes.load(toml("", name="plain")) == Recipe(name="plain")


def test_a_recorded_recipe_loads_as_the_same_run(toml):
    whole = recipes.load("cifar10-cpu")
    assert recipes.load(toml(recipes.to_toml(whole), name="recipe.toml")).identity == whole.identity


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dmeo", ["'dmeo'", "did you mean 'demo'", "cifar10-cpu"]),
        ("", ["unknown recipe"]),
        ("no/such/file.toml", ["no/such/file.toml", "No such file"]),
        ("no/such/file", ["unknown recipe 'no/such/file'"]),
    ],
)
def test_a_recipe_that_is_not_there_is_named(name, words):
    with pytest.raises(InputError) as caught:
        recipes.load(name)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[search\nlr = 1", ["no valid TOML", "line 1"]),
        ("lr = 1\nlr = 2\n", ["no valid TOML"]),
        ("[search]\nlr = \n", ["no valid TOML", "line 2"]),
        (b"name = '\xff\xfe'\n", ["cannot read the recipe"]),
        (b"\x00\x01\x02", ["no valid TOML"]),
        ("[search]\nlrr = 0.1\n", ["search.lrr", "did you mean 'lr'"]),
        ("[search]\nlr = '0.1'\n", ["search.lr", "a number", "'0.1'"]),
        ("[search]\nlr = 1979-05-27\n", ["search.lr", "a number"]),
        ("search = 3\n", ["search", "table"]),
        ("name = 3\n", ["name", "a text"]),
        (f"[search]\nepochs = {'9' * 400}\n", ["search.epochs"]),
    ],
)
def test_a_file_that_cannot_be_right_is_named_with_the_reason(toml, content, words):
    file = toml(content)
    with pytest.raises(InputError) as caught:
        recipes.load(file)
    assert all(word in str(caught.value) for word in [file, *words])


def test_a_folder_is_no_recipe(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    for name in (tmp_path, tmp_path / "folder.toml"):
        with pytest.raises(InputError):
            recipes.load(str(name))


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a b", "a\\b", "a\nb", "$HOME", "~"])
def test_a_name_that_makes_no_folder_is_refused(name):
    with pytest.raises(InputError, match="name"):
        recipes.check(Recipe(name=name))


@pytest.mark.parametrize("name", ["demo", "cifar10-cpu", "a.b_c-1", "v2.0"])
def test_a_name_that_makes_a_folder_will_do(name):
    recipes.check(Recipe(name=name))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (Recipe(compare=Compare(arms=("dense", "ticket", "dense"))), ["compare.arms", "twice"]),
        (Recipe(compare=Compare(arms=("ticket",))), ["compare.arms", "dense"]),
        (Recipe(search=Search(lr=0.1, warmup=0.1, warmup_lr=0.2)), ["search.warmup_lr", "search.lr"]),
        (Recipe(search=Search(warmup_lr=0.01)), ["search.warmup_lr", "search.warmup"]),
    ],
)
def test_fields_that_contradict_each_other_are_named(bad, words):
    with pytest.raises(InputError) as caught:
        recipes.check(bad)
    assert all(word in str(caught.value) for word in words)


@pytest.fixture
def asked():
    """What the command line would run."""
    return lambda name, *words: main.parse(name, list(words))


def test_the_command_line_gives_the_recipe_as_it_is(asked):
    for name in recipes.shipped_names():
        assert asked("search", "--recipe", name).fields == recipes.load(name)
        assert asked("compare", f"--recipe={name}").fields == recipes.load(name)


def test_flags_override_their_own_fields_of_the_recipe_alone(asked):
    demo = recipes.load("demo")
    flags = [
        "--search.lr",
        "0.5",
        "--search.pgd.steps",
        "3",
        "--threat.eps",
        "2/255",
        "--compare.arms",
        "dense",
    ]
    made = asked("compare", "--recipe", "demo", *flags).fields
    search = dataclasses.replace(demo.search, lr=0.5, pgd=dataclasses.replace(demo.search.pgd, steps=3))
    assert made.threat.eps.text == "2/255"
    assert made == dataclasses.replace(
        demo, search=search, threat=made.threat, compare=Compare(arms=("dense",))
    )


def test_flags_may_stand_before_the_recipe(asked):
    before = asked("search", "--search.lr", "0.5", "--recipe", "demo")
    assert before == asked("search", "--recipe", "demo", "--search.lr", "0.5")


def test_a_recipe_named_twice_is_refused_or_the_one_reported_is_the_one_read(asked):
    try:
        verb = asked("search", "--recipe", "demo", "--recipe", "cifar10-cpu")
    except SystemExit:
        return
    assert verb.fields == recipes.load(verb.recipe)


def test_the_command_line_and_the_registry_know_the_same_nets():
    """The recipe is read without torch, so it has a list of its own."""
    from robust_tickets.models.registry import NAMES, ModelSpec, build
    from robust_tickets.recipe.fields import NETS, WITH_DROPOUT

    assert set(NETS) == set(NAMES)
    for name in NETS:
        spec = ModelSpec(name, 0.1, (3, 32, 32), 10, (0.0,) * 3, (1.0,) * 3, dropout=0.5)
        if name in WITH_DROPOUT:
            build(spec, seed=0)
        else:
            with pytest.raises(InputError, match="has no dropout"):
                build(spec, seed=0)
