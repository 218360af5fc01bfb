"""The schema: tables become dataclasses only where every value makes sense, else the field is named."""

import dataclasses
import functools
import tomllib
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_tickets.base.errors import InputError
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe import schema
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import Study
from robust_tickets.recipe.recipe import Recipe

SETTINGS = settings(deadline=None, derandomize=True, database=None, max_examples=60)

# no default anywhere it matters; each field can be changed by itself in one of these
BASE = recipes.from_table(
    {
        "search": {"warmup": 0.2, "warmup_lr": 0.001, "stop_distance": 0.1},
        "train": {"warmup": 0.2, "warmup_lr": 0.001},
        "compare": {"arms": ["dense", "ticket"]},
    }
)
SPECIAL = recipes.from_table(
    {
        "data": {"name": "folder", "resize": 32},
        "threat": {"eps": "0.5"},
        "model": {"name": "conv-2", "dropout": 0.5},
        "search": {"scope": "layer", "fc_ratio": 0.5, "output_ratio": 0.25, "method": "fgsm"},
        "train": {"iterations": 100, "ticket_iterations": 50, "method": "fgsm"},
    }
)
UNTRAINED = recipes.from_table({"search": {"pruning_method": "random"}})
NOT_RECORDED = {"summary", "data.root", "data.download"}
CHANNELS = recipes.from_table({"search": {"granularity": "channel"}})
BASES = (BASE, SPECIAL, UNTRAINED, CHANNELS)


def leaves(instance, path=()):
    """Every field that is no dataclass of fields: its path, its type and its value."""
    for name, hint in get_type_hints(type(instance), include_extras=True).items():
        value = getattr(instance, name)
        if dataclasses.is_dataclass(value) and not isinstance(value, Eps):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), hint, value


def changed(instance, path, value):
    """The instance with one field at the end of the path replaced."""
    inner = value if len(path) == 1 else changed(getattr(instance, path[0]), path[1:], value)
    return dataclasses.replace(instance, **{path[0]: inner})


def another(hint, value):
    """A valid value of that type other than this one."""
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(hint) is Literal:
        return next(word for word in get_args(hint) if word != value)
    if get_origin(hint) is tuple:
        return tuple(x / 2 for x in value) if isinstance(value[0], float) else tuple(reversed(value))
    kinds = {
        bool: lambda: not value,
        int: lambda: value + 1,
        float: lambda: value / 2,
        str: lambda: {"resnet20": "resnet32", "conv-2": "conv-4"}.get(value, value + "x"),
    }
    return kinds.get(type(value), lambda: Eps("1/7") if hint is Eps else Path("/some/where"))()


def nested(path, value):
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


LEAVES = list(leaves(BASE))
NUMBERS = [
    (".".join(path), get_args(hint)[0], bounds)
    for path, hint, _ in LEAVES
    if get_origin(hint) is Annotated
    for bounds in get_args(hint)[1:]
    if isinstance(bounds, schema.Range)
]


def test_the_walk_reaches_every_kind_of_field():
    names = {".".join(path) for path, _, _ in LEAVES}
    assert {
        "name",
        "data.root",
        "threat.eps",
        "search.pgd.steps",
        "train.ticket_epochs",
        "compare.arms",
    } <= names
    assert len(names) == len(LEAVES) >= 40


def test_a_word_of_another_type_is_none_of_the_known():
    for value in (8.0, True, "8", 9):
        with pytest.raises(InputError, match=r"value for search.round_to.*known: 16, 32, 64, 8"):
            recipes.from_table({"name": "x", "search": {"granularity": "channel", "round_to": value}})


def sensible(base, other):
    """Whether a change of a recipe is one, and needs no fields that it lacks."""
    try:
        recipes.check(other)
    except InputError:
        return False
    return other != base


@pytest.mark.parametrize(("path", "hint", "value"), LEAVES, ids=[".".join(path) for path, _, _ in LEAVES])
def test_identity_changes_with_every_field_that_is_recorded_and_no_other(path, hint, value):
    bases = [(b, changed(b, path, another(hint, functools.reduce(getattr, path, b)))) for b in BASES]
    base, other = next(pair for pair in bases if sensible(*pair))
    if ".".join(path) in NOT_RECORDED or path[0] == "study":
        assert other.identity == base.identity
        assert recipes.to_toml(other) == recipes.to_toml(base)
    else:
        assert other.identity != base.identity
        assert recipes.to_table(other) != recipes.to_table(base)


@pytest.mark.parametrize("name", [*recipes.shipped_names(), None])
def test_a_recipe_written_as_toml_reads_back_equal(name):
    whole = recipes.load(name) if name else BASE
    back = recipes.from_table(tomllib.loads(recipes.to_toml(whole)))
    assert back == dataclasses.replace(whole, summary="", study=Study())
    assert back.identity == whole.identity
    studied = recipes.from_table(tomllib.loads(recipes.to_toml(whole, study=True)))
    assert studied == dataclasses.replace(whole, summary="")


@SETTINGS
@given(
    lr=st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False),
    ratio=st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True),
    epochs=st.integers(1, 10**9),
    eps=st.integers(1, 255),
    start=st.booleans(),
    arms=st.permutations(["dense", "dense-short", "ticket"]),
)
def test_any_valid_values_survive_the_round_trip(lr, ratio, epochs, eps, start, arms):
    table = {
        "threat": {"eps": f"{eps}/255"},
        "search": {"lr": lr, "ratio": ratio, "epochs": epochs, "pgd": {"random_start": start}},
        "compare": {"arms": arms},
    }
    made = recipes.from_table(table)
    assert (made.search.lr, made.search.ratio, made.search.epochs) == (lr, ratio, epochs)
    assert (made.threat.eps.text, made.search.pgd.random_start) == (f"{eps}/255", start)
    assert made.compare.arms == tuple(arms)
    assert recipes.from_table(tomllib.loads(recipes.to_toml(made))) == made


def test_no_path_is_recorded():
    away = changed(BASE, ("data", "root"), Path("/home/somebody/secret"))
    assert "secret" not in recipes.to_toml(away)
    assert "root" not in recipes.to_table(away)["data"]
    assert away.data.root == Path("/home/somebody/secret")  # and the recipe itself was left as it was


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("serch", "search"),
        ("search.lrr", "lr"),
        ("search.pgd.step", "steps"),
        ("data.val_image", "val_images"),
    ],
)
def test_an_unknown_field_is_named_by_its_whole_path_with_the_nearest(path, nearest):
    with pytest.raises(InputError) as caught:
        schema.read(Recipe, nested(path, 1))
    assert repr(path) in str(caught.value)
    assert f"did you mean '{nearest}'" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "word", "nearest"),
    [
        ("search.method", "pdg", "pgd"),
        ("data.name", "cifar-10", "cifar10"),
        ("model.name", "resnet-20", "resnet20"),
        ("train.schedule", "steps", "step"),
        ("search.criterion", "magnitud", "magnitude"),
    ],
)
def test_an_unknown_value_is_named_by_its_whole_path_with_the_nearest(path, word, nearest):
    with pytest.raises(InputError) as caught:
        recipes.from_table(nested(path, word))
    assert path in str(caught.value)
    assert repr(word) in str(caught.value)
    assert f"did you mean '{nearest}'" in str(caught.value)


def test_an_unknown_arm_in_a_list_is_named():
    with pytest.raises(InputError, match=r"compare\.arms.*'dens'.*did you mean 'dense'"):
        schema.read(Recipe, nested("compare.arms", ["ticket", "dens"]))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("search.epochs", True),
        ("search.epochs", 3.0),
        ("search.epochs", "3"),
        ("search.lr", True),
        ("search.lr", "0.1"),
        ("search.lr", [0.1]),
        ("search.pgd.random_start", 1),
        ("search.pgd.random_start", "true"),
        ("search.method", 3),
        ("search.pgd", 3),
        ("search", [1]),
        ("data.root", 3),
        ("name", 3),
        ("threat.eps", True),
        ("threat.eps", [8, 255]),
        ("compare.arms", "dense"),
        ("compare.arms", []),
        ("compare.arms", {"dense": 1}),
    ],
)
def test_a_wrong_type_is_refused_with_field_and_value(path, value):
    with pytest.raises(InputError) as caught:
        schema.read(Recipe, nested(path, value))
    assert path in str(caught.value)
    assert repr(value) in str(caught.value) or repr(str(value)) in str(caught.value)
    assert "class" not in str(caught.value)  # Python's names for types are not the user's


def test_a_whole_number_will_do_for_a_float_and_becomes_one():
    made = schema.read(Recipe, nested("search.lr", 1))
    assert type(made.search.lr) is float
    assert made.identity == schema.read(Recipe, nested("search.lr", 1.0)).identity


def test_eps_is_taken_as_a_number_too():
    assert schema.read(Recipe, nested("threat.eps", 0.1)).threat.eps == Eps("0.1")
    with pytest.raises(InputError, match=r"threat\.eps.*out of range"):
        recipes.from_table(nested("threat.eps", 8))


OUT_OF_RANGE = {
    "data.train_images": [-1],
    "data.val_images": [0],
    "model.width": [0, -1],
    "search.pgd.steps": [0],
    "search.pgd.rel_step": [0],
    "search.epochs": [0],
    "search.batch": [0],
    "search.rounds": [0],
    "search.lr": [0, -0.1],
    "search.momentum": [-0.1, 1],
    "search.weight_decay": [-1e-9],
    "search.warmup": [-0.1, 1],
    "search.ratio": [0, 1],
    "train.ticket_epochs": [0],
    "evaluate.images": [-1],
    "evaluate.batch": [0],
    "evaluate.val_steps": [0],
    "compute.threads": [0],
}


@pytest.mark.parametrize(
    ("path", "value"), [(path, value) for path, values in OUT_OF_RANGE.items() for value in values]
)
def test_a_number_that_makes_no_sense_is_refused(path, value):
    with pytest.raises(InputError, match=path.replace(".", r"\.")):
        schema.read(Recipe, nested(path, value))


@pytest.mark.parametrize(("path", "kind", "bounds"), NUMBERS, ids=[path for path, _, _ in NUMBERS])
def test_every_bounded_field_admits_exactly_its_range(path, kind, bounds):
    step = 1 if kind is int else 1e-9
    inside = [kind(b) for b in (bounds.least, bounds.most) if abs(b) < float("inf")]
    inside += [kind(b + s) for b, s in ((bounds.above, step), (bounds.below, -step)) if abs(b) < float("inf")]
    outside = [kind(b) for b in (bounds.above, bounds.below) if abs(b) < float("inf")]
    outside += [kind(b + s) for b, s in ((bounds.least, -step), (bounds.most, step)) if abs(b) < float("inf")]
    assert outside
    for value in inside:
        schema.read(Recipe, nested(path, value))
    for value in [*outside, *([float("nan"), float("inf"), -float("inf")] if kind is float else [])]:
        with pytest.raises(InputError) as caught:
            schema.read(Recipe, nested(path, value))
        assert f"{path} must be {bounds}" in str(caught.value)


@pytest.mark.parametrize("path", ["search.epochs", "search.lr"])
def test_a_whole_number_beyond_floats_is_refused_and_no_accident(path):
    with pytest.raises(InputError, match=path.replace(".", r"\.")):
        schema.read(Recipe, nested(path, -(10**400)))


@pytest.mark.parametrize(
    ("path", "value"), [("search.lr", -1.0), ("train.method", "pdg"), ("search.epochs", 2.5)]
)
def test_what_was_made_by_code_is_checked_alike(path, value):
    with pytest.raises(InputError, match=path.replace(".", r"\.")):
        schema.check(changed(BASE, tuple(path.split(".")), value))


@pytest.mark.parametrize("path", ["search.lr", "search.pgd.rel_step", "model.width"])
def test_a_table_changes_its_own_fields_of_the_base_alone(path):
    base = recipes.load("demo")
    assert schema.read(Recipe, nested(path, 0.015625), base) == changed(
        base, tuple(path.split(".")), 0.015625
    )


def test_a_field_without_default_must_be_there():
    @dataclasses.dataclass(frozen=True)
    class Needy:
        size: int

    assert schema.read(Needy, {"size": 3}) == Needy(3)
    with pytest.raises(InputError, match="size"):
        schema.read(Needy, {}, path="needy")
