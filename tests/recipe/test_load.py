"""Recipes are found by name or file; flags override their fields; mistakes are named by file and field."""

import subprocess
import sys
import tomllib
from dataclasses import replace
from functools import reduce

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.cli.main import main
from robust_tickets.cli.parse import parse
from robust_tickets.recipe import old_names
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.checks import NETS, WITH_DROPOUT
from robust_tickets.recipe.fields import Compare, StudySettings
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Search, Train


@pytest.fixture
def toml(tmp_path):
    """Write a file; gives its path as text."""

    def write(content, name="mine.toml"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(file)

    return write


@pytest.mark.parametrize("name", recipes.shipped_names())
def test_a_shipped_recipe_has_its_own_name_and_a_summary(name):
    recipe = recipes.load(name)
    assert recipe.name == name
    assert recipe.summary
    recipes.check(recipe)


def test_shipped_recipes_are_different_runs():
    assert {"demo", "cifar10-cpu"} <= set(recipes.shipped_names())
    identities = [recipes.load(name).identity for name in recipes.shipped_names()]
    assert len(set(identities)) == len(identities)


def test_the_identity_is_eight_hex_digits_and_the_same_in_another_process():
    code = (
        "from robust_tickets.recipe import recipe; "
        "print(recipe.Recipe().identity, recipe.load('demo').identity)"
    )
    identities = [Recipe().identity, recipes.load("demo").identity]
    for hash_seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        output = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
        assert output.split() == identities
    assert len(Recipe().identity) == 8
    assert int(Recipe().identity, 16) >= 0


def test_the_identity_includes_the_format(monkeypatch):
    before = Recipe().identity
    monkeypatch.setattr("robust_tickets.recipe.recipe.FORMAT", recipes.FORMAT + 1)
    assert Recipe().identity != before


def test_a_file_gives_its_fields_and_the_defaults_for_others(toml):
    assert recipes.load(toml("[search]\nlr = 0.5\n")) == Recipe(name="mine", search=Search(lr=0.5))
    assert recipes.load(toml('name = "other"\n')).name == "other"
    assert recipes.load(toml("", name="plain")) == Recipe(name="plain")


@pytest.mark.parametrize("name", [*recipes.shipped_names(), None])
def test_a_recorded_recipe_loads_as_the_same_run(name, toml, tmp_path):
    recipe = recipes.load(name) if name else Recipe(study=StudySettings(rounds=(3, 5)))
    toml(recipes.to_toml(recipe))
    recorded = recipes.load_recorded(tmp_path / "mine.toml")
    assert recipes.to_table(recorded) == recipes.to_table(recipe)
    assert (recorded.summary, recorded.study) == ("", StudySettings())
    assert recorded.identity == recipe.identity
    toml(recipes.to_toml(recipe, study=True))
    assert recipes.load(str(tmp_path / "mine.toml")) == replace(recipe, summary="")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dmeo", ["'dmeo'", "did you mean 'demo'", "cifar10-cpu"]),
        ("", ["unknown recipe"]),
        ("no/such/file.toml", ["no/such/file.toml", "No such file"]),
        ("no/such/file", ["unknown recipe 'no/such/file'"]),
    ],
)
def test_a_recipe_that_does_not_exist_is_named(name, words):
    with pytest.raises(InputError) as caught:
        recipes.load(name)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[search\nlr = 1", ["no valid TOML", "line 1"]),
        ("lr = 1\nlr = 2\n", ["no valid TOML"]),
        (b"name = '\xff\xfe'\n", ["cannot read the recipe", "UTF-8"]),
        (b"\x00\x01\x02", ["no valid TOML"]),
        ("[search]\nlr = 1979-05-27\n", ["search.lr", "a number"]),
        (f"[search]\nepochs = {'9' * 400}\n", ["search.epochs"]),
        ("search = 3\n", ["search", "table"]),
        ("a = " + "[" * 300 + "]" * 300, ["mine.toml"]),
        ("format = 1\n", ["format"]),
        ("[data]\nroot = '/x'\n", ["data.root", "--data.root"]),
        ("[data]\ndownload = true\n", ["data.download", "--data.download"]),
    ],
)
def test_a_wrong_file_is_named_with_the_reason(toml, content, words):
    file = toml(content)
    with pytest.raises(InputError) as caught:
        recipes.load(file)
    assert all(word in str(caught.value) for word in [file, *words])


def test_a_folder_is_no_recipe(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    for name in (tmp_path, tmp_path / "folder.toml"):
        with pytest.raises(InputError):
            recipes.load(str(name))


def test_a_name_must_be_one_that_a_folder_can_have():
    for name in ("", ".", "..", ".hidden", "a/b", "a b", "a\\b", "a\nb", "$HOME", "~"):
        with pytest.raises(InputError, match="name"):
            recipes.check(Recipe(name=name))
    for name in ("demo", "a.b_c-1", "v2.0"):
        recipes.check(Recipe(name=name))


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(compare=Compare(arms=("dense", "ticket", "dense"))), ["compare.arms", "twice"]),
        (Recipe(compare=Compare(arms=("ticket",))), ["compare.arms", "dense"]),
        (Recipe(search=Search(lr=0.1, warmup=0.1, warmup_lr=0.2)), ["search.warmup_lr", "search.lr"]),
        (Recipe(search=Search(warmup_lr=0.01)), ["search.warmup_lr", "search.warmup"]),
        (Recipe(train=Train(iterations=5)), ["train.iterations", "train.ticket_iterations"]),
    ],
)
def test_fields_that_contradict_each_other_are_named(recipe, words):
    with pytest.raises(InputError) as caught:
        recipes.check(recipe)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("old", old_names.FIELDS)
def test_an_old_field_gets_its_new_name(old, toml):
    table, _, field = old.partition(".")
    new = old_names.FIELDS[old]
    reduce(getattr, new.split("."), Recipe())  # it exists
    with pytest.raises(InputError, match=f"unknown field '{old}': it is now called '{new}'"):
        recipes.load(toml(f"[{table}]\n{field} = 1\n"))


def test_an_old_value_gets_its_new_name(toml):
    with pytest.raises(InputError, match=r"train.overfitting: 'go-back' is now called 'restore-best'"):
        recipes.load(toml("[train]\noverfitting = 'go-back'\n"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--save-minutes", "--checkpoint-minutes"),
        ("--save-steps=3", "--checkpoint-steps"),
        ("--search.finder", "--search.pruning-method"),
        ("--evaluate.choose=clean", "--evaluate.select-by"),
        ("--search.lr", None),
        ("--nothing", None),
    ],
)
def test_an_old_flag_gets_its_new_name(old, new):
    assert old_names.new_flag(old) == new
    if new is not None:
        with pytest.raises(InputError, match=f"unknown flag {old.partition('=')[0]}: it is now called {new}"):
            parse("search", ["--recipe", "demo", old])


def test_the_recipe_is_read_as_it_is():
    for name in ("cifar10-cpu-fast", "paper-wrn34-10"):
        assert parse("search", ["--recipe", name]).fields == recipes.load(name)
    assert parse("compare", ["--recipe=demo"]).fields == recipes.load("demo")


def test_flags_override_their_own_fields_alone():
    demo = recipes.load("demo")
    flags = "--search.lr 0.5 --train.pgd.steps 3 --threat.eps 2/255 --compare.arms dense"
    recipe = parse("compare", ["--recipe", "demo", *flags.split()]).fields
    search = replace(demo.search, lr=0.5)
    train = replace(demo.train, pgd=replace(demo.train.pgd, steps=3))
    assert recipe.threat.eps.text == "2/255"
    compare = Compare(arms=("dense",))
    assert recipe == replace(demo, search=search, train=train, threat=recipe.threat, compare=compare)


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


def test_a_recipe_extends_another_one_and_changes_what_it_names(toml):
    file = toml('extends = "lab-cpu"\n[train]\nlr = 0.02\n[train.pgd]\nsteps = 3\n')
    recipe, base = recipes.load(file), recipes.load("lab-cpu")
    train = replace(base.train, lr=0.02, pgd=replace(base.train.pgd, steps=3))
    assert recipe == replace(base, name="mine", summary="", train=train)
    toml('extends = "mine.toml"\nname = "third"\n[model]\nwidth = 0.5\n', "third.toml")
    third = recipes.load(file.replace("mine.toml", "third.toml"))
    assert third == replace(recipe, name="third", model=replace(recipe.model, width=0.5))
    assert recipes.from_table(recipes.to_table(third)) == replace(third, study=StudySettings())


def test_a_length_or_a_method_of_the_extended_recipe_is_changed_as_by_flags(toml):
    recipe = recipes.load(
        toml('extends = "lab-cpu"\n[train]\nmethod = "natural"\n[search]\nmethod = "natural"\n')
    )
    words = [
        "--recipe",
        "lab-cpu",
        "--train.method",
        "natural",
        "--search.method",
        "natural",
        "--name",
        "mine",
    ]
    assert recipes.to_table(recipe) == recipes.to_table(parse("compare", words).fields)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('extends = "mine.toml"\n', "extends itself"),
        ('extends = "lab-cpux"\n', "unknown recipe"),
        ("extends = 3\n", "extends must be a recipe's name or file, got 3"),
        ('extends = "lab-cpu"\n[train]\nlrr = 1\n', "unknown field 'train.lrr'"),
    ],
)
def test_a_recipe_that_cannot_be_extended_is_named(content, message, toml):
    with pytest.raises(InputError, match=message):
        recipes.load(toml(content))


def test_a_recipe_is_shown_as_it_is_written_and_in_full(capsys):
    main(["recipes", "show", "lab-cpu"])
    text = capsys.readouterr().out
    assert "# chosen for dense on validation" in text
    assert recipes.from_table(tomllib.loads(text) | {"name": "lab-cpu"}) == recipes.load("lab-cpu")
    main(["recipes", "show", "lab-cpu", "--resolved"])
    table = tomllib.loads(capsys.readouterr().out)
    assert table.pop("format") == recipes.FORMAT
    assert table == recipes.to_table(recipes.load("lab-cpu"))
    main(["recipes"])
    assert "lab-cpu" in capsys.readouterr().out


@pytest.mark.parametrize("flag", [["--model.name", "my_nets:net"], ["--model.name=my_nets:net"]])
def test_a_network_of_one_s_own_takes_any_recipe(flag):
    """The recipe's width is that of its network, and does nothing to another."""
    for name in recipes.shipped_names():
        if "dense-narrow-flops" not in recipes.load(name).compare.arms:  # which needs a network with a width
            fields = parse("compare", ["--recipe", name, *flag]).fields
            assert (fields.model.name, fields.model.width) == ("my_nets:net", 1.0)
    with pytest.raises(InputError, match=r"model\.width does nothing to my_nets:net"):
        parse("compare", ["--recipe", "fast-robust", *flag, "--model.width", "0.5"])
