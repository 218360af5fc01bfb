"""One line registers a pruning method: no other file of the package is touched."""

import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Search
from robust_tickets.recipe.pruning_methods import PRUNING_METHODS, make_pruning_method, pruning_method_class
from robust_tickets.recipe.registry import first_lines
from robust_tickets.tickets.methods.random import RandomSettings
from robust_tickets.tickets.transforms import TRANSFORMS

HERE = Path(__file__).parent


def run(*words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(HERE), *sys.path])
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> dict:
    process = run(str(HERE / "use_made_up_pruning.py"), str(tmp_path_factory.mktemp("made-up")))
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout)


def test_a_registered_method_has_flags_help_and_checks_without_torch(outputs):
    text = " ".join(outputs["help"].split())
    assert "every_nth: every n-th weight, without training" in text
    assert "--search.every-nth.n N keep one weight of so many" in text
    assert (
        "search.ratio does nothing with search.pruning_method every_nth, which keeps every"
        in outputs["refused"]
    )
    assert outputs["torch"] is False


def test_its_cost_is_known_beforehand_and_counted(outputs):
    (search,) = (
        line.split() for line in outputs["estimate"].splitlines() if line.strip().startswith("search")
    )
    assert int(search[2]) == 32
    assert outputs["passes"] == {"prune": {"forward": 32, "input_backward": 0, "full_backward": 0}}


def test_its_ticket_is_like_any_other(outputs):
    assert "every_nth, natural, ratio" in outputs["ticket"]
    assert "25.00 %" in outputs["ticket"].splitlines()[-1]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("made_up_pruning:WithoutMask", "lacks mask: add it"),
        ("made_up_pruning:WithoutDocstring", "lacks a docstring of WithoutDocstring: add it"),
        ("made_up_pruning:WithoutDefault", "lacks a default of NoDefault.n: add it"),
        ("made_up_pruning:WithoutBase", "lacks the base class PruningMethod: add it"),
    ],
)
def test_a_method_that_lacks_a_part_is_refused_when_the_recipe_is_imported(place, words, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setitem(PRUNING_METHODS, "odd", place)
    with pytest.raises(TypeError, match=f"the pruning method odd .* {words}"):
        pruning_method_class("odd")
    if "WithoutMask" in place:
        table = "from robust_tickets.recipe.pruning_methods import PRUNING_METHODS as TABLE"
        process = run("-c", f"{table}; TABLE['odd'] = '{place}'\nimport robust_tickets.recipe.fields")
        assert process.stderr.splitlines()[-1] == f"TypeError: the pruning method odd ({place}) {words}"


@pytest.mark.parametrize("name", PRUNING_METHODS)
def test_each_method_names_fields_and_transforms_that_exist(name):
    cls = pruning_method_class(name)
    assert set(cls.unused) <= {field.name for field in fields(Search)}
    assert make_pruning_method(Search(pruning_method=name)).redundant_transforms <= TRANSFORMS.keys()
    assert len(first_lines({name: cls})) < 120


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"pruning_method": "snip", "rounds": 2},
            "search.rounds does nothing with .* snip, which trains nothing",
        ),
        ({"pruning_method": "snip", "criterion": "magnitude"}, "search.criterion .* a score of its own"),
        ({"pruning_method": "random", "scope": "layer"}, r"search.scope .* have search.random.densities"),
        ({"random": RandomSettings("er")}, "search.random is for search.pruning_method random"),
        (
            {"pruning_method": "random", "granularity": "channel"},
            "random channels are a narrower network.*dense-narrow-flops",
        ),
    ],
)
def test_fields_that_do_nothing_with_a_method_are_refused(changes, words, tiny_recipe):
    search = replace(tiny_recipe.search, **{"rounds": 1, **changes})
    with pytest.raises(InputError, match=words):
        recipes.check(replace(tiny_recipe, search=search))


@pytest.mark.parametrize(("densities", "refused"), [("erk", False), ("uniform", True)])
def test_controls_that_are_the_ticket_of_another_seed_are_refused(densities, refused, tiny_recipe):
    search = replace(tiny_recipe.search, pruning_method="random", rounds=1, random=RandomSettings(densities))
    for arm in ("ticket-reinit", "ticket-shuffle-layer", "random", "ticket-shuffle-net"):
        recipe = replace(
            tiny_recipe, search=search, compare=replace(tiny_recipe.compare, arms=("dense", arm))
        )
        if arm != "ticket-shuffle-net" or refused:
            with pytest.raises(InputError, match=f"{arm} makes no sense with .* random"):
                recipes.check(recipe)
        else:
            recipes.check(recipe)
