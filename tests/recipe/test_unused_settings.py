"""Settings of a method that is not chosen: refused where given, left out where a recipe brings them."""

from dataclasses import replace

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.cli.parse import parse
from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.methods import METHODS
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.studies import load_study
from robust_tickets.stages.plan import plan
from robust_tickets.stages.reuse import arm_key
from robust_tickets.studies.study_files import StudyFolder

SETTINGS = [
    (
        {"train": {"trades": {"beta": 3.0}}},
        "train.trades is for train.method trades, and does nothing to pgd: choose trades",
    ),
    (
        {"search": {"random": {"densities": "er"}}},
        "search.random is for search.pruning_method random, and does nothing to imp",
    ),
]


@pytest.mark.parametrize(("table", "words"), SETTINGS, ids=lambda value: "")
@pytest.mark.parametrize("base", [None, recipes.load("demo")], ids=["file", "changes"])
def test_they_are_refused(table, words, base):
    with pytest.raises(InputError, match=words):
        recipes.from_table(table, base)


def test_a_file_may_have_those_of_other_searches_for_a_study_that_chooses_them():
    table = {"search": {"nfgsm": {"k": 1.0}}}
    recipe = recipes.from_table(table)
    assert recipe.search.nfgsm.k == 1
    assert recipe.identity == Recipe().identity
    with pytest.raises(InputError, match=r"search\.nfgsm is for search.method nfgsm"):
        recipes.from_table(table, Recipe())


def test_a_file_may_have_those_of_pruning_methods_that_a_study_sets_beside_its_own():
    table = {"search": {"edge_popup": {"lr": 0.3}}}
    recipe = recipes.from_table(table)
    assert recipe.identity == Recipe().identity
    strong = load_study("strong")
    cell = next(iter(strong.cells(recipe, (0.5,))))
    assert {source.recipe.search.edge_popup.lr for source in cell.sources} == {0.3}
    with pytest.raises(InputError, match=r"search\.edge_popup is for search.pruning_method edge_popup"):
        recipes.from_table(table, Recipe())


def test_the_study_that_sets_a_method_takes_its_settings_from_flags_and_from_a_file_that_extends(tmp_path):
    flags = ["--recipe", "lab-cpu", "--search.edge-popup.lr", "0.3"]
    assert parse("study", ["strong", *flags]).fields.search.edge_popup.lr == 0.3
    for words in (["study", "ratio"], ["compare"]):
        with pytest.raises(InputError, match=r"search\.edge_popup is for search.pruning_method edge_popup"):
            parse(words[0], [*words[1:], *flags])
    file = tmp_path / "mine.toml"
    file.write_text('extends = "lab-cpu"\n[search.edge_popup]\nlr = 0.3\n')
    assert recipes.load(str(file)).search.edge_popup.lr == 0.3


def test_they_are_refused_as_flags():
    words = "train.nfgsm is for train.method nfgsm, and does nothing to pgd"
    with pytest.raises(InputError, match=words):
        parse("train", ["--recipe", "demo", "--train.nfgsm.k", "1"])
    parse("train", ["--recipe", "demo", "--train.nfgsm.k", "1", "--train.method", "nfgsm"])


def test_those_that_a_recipe_brings_are_left_out_when_another_method_is_chosen():
    cpu = recipes.load("cifar10-cpu")
    assert cpu.train.pgd.steps != Recipe().train.pgd.steps, "else there is nothing to leave out"
    switched = parse("train", ["--recipe", "cifar10-cpu", "--train.method", "nfgsm"]).fields
    assert not METHODS.keys() & recipes.to_table(switched)["train"].keys() - {"nfgsm"}
    plain = replace(switched, train=replace(switched.train, pgd=Recipe().train.pgd))
    assert plain.identity == switched.identity != cpu.identity
    keys = {
        arm_key(recipe, plan(recipe, "dense", SPECS["cifar10"]), None, 0, {}) for recipe in (plain, switched)
    }
    assert len(keys) == 1


def test_a_study_keeps_those_of_the_methods_that_it_chooses(tmp_path):
    flags = ["mask-source", "--recipe", "demo", "--search.method", "natural"]
    base = parse("study", flags).fields
    base = replace(base, search=replace(base.search, pgd=replace(base.search.pgd, steps=3)))
    study = load_study("mask-source")
    folder = StudyFolder.of(tmp_path, study, base)
    folder.write_recipe()
    assert recipes.load_recorded(folder.recipe_file).search == base.search
    other = replace(base, search=replace(base.search, pgd=replace(base.search.pgd, steps=4)))
    assert other.identity == base.identity
    assert StudyFolder.of(tmp_path, study, other).path != folder.path
