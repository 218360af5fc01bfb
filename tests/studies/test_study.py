"""A study refuses what cannot be run before anything is trained; each runs its cells once (slow)."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from quick_comparison import quick_comparisons

import robust_tickets as rt
from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.recipe.fields import Data, Model, StudySettings
from robust_tickets.recipe.studies import STUDIES
from robust_tickets.stages.experiment import Experiment
from robust_tickets.studies.study import forecast, study
from robust_tickets.studies.study_files import read_study
from robust_tickets.tickets.methods.recursive import RecursiveSettings
from robust_tickets.training.methods.pgd import PGDSettings

SETTINGS = StudySettings(
    lr=(0.02, 0.1),
    ratio=(0.5, 0.75),
    width=(0.1, 0.2),
    mask_source=("natural", "fgsm"),
    search_length=(1, 2),
    rounds=(1, 2),
    schedule=(1, 2),
    transfer=("threat.eps=0.05",),
    elastic=("resnet20",),
    reuse=("own", "threat.eps=0.05"),
    basis=("canonical", "svd"),
    recursive=("mlp-1",),
    strong=(0.5,),
)
RESNET = Model("resnet14", width=0.125)


class Log(SilentProgress):
    """Progress that remembers its lines."""

    def __init__(self):
        self.lines = []

    def log(self, line):
        self.lines.append(line)


@pytest.fixture(scope="module")
def base(tiny_recipe):
    return replace(tiny_recipe, study=SETTINGS)


def run_study(name, recipe, runs, seeds=(0, 1)):
    log = Log()
    with quick_comparisons(report=name == "transfer"):  # one with all that users get
        return study(name, Experiment(recipe, machine=Machine("cpu", log)), list(seeds), runs), log.lines


def growing(base):
    """A recipe whose search grows."""
    growth = RecursiveSettings("mlp-1", "identity-linear")
    search = replace(base.search, rounds=1, **{"pruning_method": "recursive", "recursive": growth})
    return replace(base, model=Model("mlp-2", width=0.25), search=search)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One folder for all studies here, which therefore share what they have in common."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_each_study_writes_its_rows_figure_and_verdict(name, base, runs):
    base = replace(base, model=RESNET) if name == "elastic" else base
    base = growing(base) if name == "recursive" else base
    if name == "basis":  # svd asks for one round
        base = replace(base, search=replace(base.search, rounds=1))
    result, _ = run_study(name, base, runs)
    rows = pd.read_csv(result.folder / f"{name}.csv")
    assert set(rows.seed) == {0, 1}
    assert {"dense", "ticket"} <= set(rows.arm)
    assert "undecided at 2 seeds" in result.verdict
    files = {path.name: path.read_bytes() for path in result.folder.iterdir()}
    assert read_study(result.folder) == (files[f"{name}.csv"].decode(), result.verdict)
    again, lines = run_study(name, base, runs)
    assert {path.name: path.read_bytes() for path in again.folder.iterdir()} == files
    assert not any("epoch" in line or "copied from" in line for line in lines)


@pytest.mark.slow
def test_studies_share_their_cells(base, runs):
    """The recipe's own setting is a cell of several studies."""
    cells = {("lr", "0.1"), ("ratio", "0.75"), ("rounds", "2"), ("search-length", "2")}
    rows = {name: run_study(name, base, runs)[0].rows for name, _ in cells}
    directories = {run for name, setting in cells for run in rows[name][rows[name].setting == setting].run}
    assert len(directories) == 1


def test_two_widths_of_one_network_are_refused_before_anything_is_run(base, tmp_path):
    recipe = replace(base, model=Model("resnet20"), study=replace(SETTINGS, width=(0.5, 0.51)))
    with pytest.raises(InputError, match=r"study width: 0\.5 and 0\.51 are the same network"):
        run_study("width", recipe, tmp_path)
    assert not list(tmp_path.iterdir())


def test_images_that_are_missing_are_asked_for_before_anything_is_run(base, tmp_path, monkeypatch):
    monkeypatch.delenv("ROBUST_TICKETS_SVHN", raising=False)
    recipe = replace(base, study=replace(SETTINGS, transfer=("data.name=svhn",)))
    with pytest.raises(InputError, match="SVHN not found"):
        run_study("transfer", recipe, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_estimate_needs_no_images(base, monkeypatch):
    """They may be on another machine. A wrong path is refused: see tests/e2e/test_wrong_calls.py."""
    monkeypatch.delenv("ROBUST_TICKETS_CIFAR10", raising=False)
    for name in ("estimated_rates.training_pass_seconds", "estimate.evaluation_pass_seconds"):
        name = f"robust_tickets.comparison.{name}"
        monkeypatch.setattr(name, lambda *arguments: 1e-6)
    recipe = replace(base, data=Data("cifar10", val_images=40), evaluate=replace(base.evaluate, images=50))
    assert set(forecast("lr", Experiment(recipe), 1).rows.arm) > {"ticket (0.02)", "ticket (0.1)"}


def test_a_setting_that_fails_in_the_search_is_named_by_the_field_of_the_study(base, tmp_path):
    recipe = replace(base, study=replace(SETTINGS, ratio=(0.99999,)))
    message = r"setting 0\.99999: .*lower study\.ratio.*finished cells are kept"
    with pytest.raises(InputError, match=message):
        run_study("ratio", recipe, tmp_path, seeds=(0,))


def elastic_rows(base, runs):
    """A study elastic of one seed and target."""
    search = replace(base.search, rounds=1)
    train = replace(base.train, method="natural", pgd=PGDSettings(), epochs=1, ticket_epochs=1)
    recipe = replace(base, model=RESNET, search=search, train=train)
    recipe = replace(recipe, evaluate=replace(recipe.evaluate, early_epochs=1))
    return run_study("elastic", recipe, runs, seeds=(0,))[0]


def test_random_weights_that_are_kept_are_evaluated_as_they_are_and_trained(base, tmp_path):
    train = replace(base.train, method="natural", pgd=PGDSettings(), epochs=1, ticket_epochs=1)
    recipe = replace(base, search=replace(base.search, method="natural"), train=train)
    with quick_comparisons():
        result = run_study("strong", recipe, tmp_path, seeds=(0,))[0]
    rows = result.rows.set_index("arm")
    arms = ["strong-untrained", "strong-shuffled", "strong-trained"]
    assert list(rows.index) == ["dense", "ticket", "random", *arms]
    assert (rows.density[["ticket", *arms]] - 0.5).abs().max() < 0.01
    assert list(rows.epochs[arms]) == [0, 0, 1]
    assert rows.search_flops[arms].nunique() == 1
    assert (rows.flops[["strong-untrained", "strong-shuffled"]] == 0).all()
    assert "Untrained, they are as good as the trained ticket" in result.verdict


def test_growth_stands_beside_its_halves_for_the_same_flops(base, tmp_path):
    train = replace(base.train, method="natural", pgd=PGDSettings(), epochs=1, ticket_epochs=1)
    recipe = replace(growing(base), train=train)
    recipe = replace(recipe, search=replace(recipe.search, method="natural"))
    with quick_comparisons():
        result = run_study("recursive", recipe, tmp_path, seeds=(0,))[0]
    rows = result.rows.set_index("arm")
    halves = ["grown-reset", "grown-unpruned", "imp-reset", "imp-continue"]
    assert list(rows.index) == ["dense", "ticket", "dense-equal-cost", "reinit-equal-cost", *halves]
    total = rows.flops + rows.search_flops
    assert (total[halves] / total["ticket"] - 1).abs().max() < 0.1  # in whole steps
    assert (total[["dense-equal-cost", "reinit-equal-cost"]] >= total["ticket"]).all()
    assert rows.density["reinit-equal-cost"] == rows.density["ticket"]
    assert rows.density["grown-unpruned"] == 1
    assert rows.search_flops["reinit-equal-cost"] == 0
    assert "Growth ends above growth with reset" in result.verdict


def test_stretched_tickets_are_trained_on_the_target_and_charged_the_search_of_their_source(base, tmp_path):
    with quick_comparisons():
        result = elastic_rows(base, tmp_path)
    rows = result.rows.set_index("arm")
    stretched = [arm for arm in rows.index if arm.startswith("stretched")]
    assert stretched == ["stretched", "stretched-reinit", "stretched-shuffle-copies"]
    assert rows.density[stretched].nunique() == 1
    # the source has 6 blocks where the target has 9, and the same images and epochs
    assert rows.search_flops[stretched].nunique() == 1
    assert rows.search_flops["stretched"] < 0.8 * rows.search_flops["ticket"]
    assert rows.density["ticket-snip"] == pytest.approx(rows.density["ticket"], abs=1e-3)
    # both are trained by the same steps of the same network
    assert rows.flops["stretched"] == rows.flops["ticket"] == rows.flops["dense"]
    assert "| resnet20 |" in result.verdict
    assert "pays against dense at" in result.verdict
    assert result.verdict.count("last epoch") >= 2


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("resnet18",), "resnet18 is of another family than resnet14"),
        (("resnet14",), "it has no more blocks than resnet14, whose ticket is to be stretched"),
        (("resnet20", "resnet15"), "resnet15"),
    ],
)
def test_a_study_elastic_refuses_other_networks_than_deeper_ones(targets, message, base, tmp_path):
    recipe = replace(base, model=RESNET, study=replace(SETTINGS, elastic=targets))
    with pytest.raises(InputError, match=message):
        run_study("elastic", recipe, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "call", [run_study, lambda name, recipe, path: forecast(name, Experiment(recipe), 1)]
)
def test_a_basis_that_transforms_nothing_is_refused_before_any_setting_is_trained(call, base, tmp_path):
    """And the flag that the message names is the one that there is."""
    recipe = replace(base, model=Model("mlp-1"), study=replace(SETTINGS, basis=("canonical", "dct")))
    with pytest.raises(
        InputError, match=r"setting dct: study\.basis dct leaves .*give --search\.basis-axes all"
    ):
        call("basis", recipe, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_study_recursive_of_a_network_that_its_default_does_not_grow_into_is_refused(base, tmp_path):
    recipe = replace(base, model=Model("mlp-3"), study=StudySettings())
    with pytest.raises(
        InputError, match=r"do not grow into mlp-3: name networks that do by study\.recursive"
    ):
        run_study("recursive", recipe, tmp_path)


@pytest.mark.slow
def test_a_study_of_ones_own_network_and_images(tmp_path, tiny_data):
    folder = rt.study(
        "controls",
        own_net,
        tiny_data,
        seeds=2,
        runs=tmp_path,
        threat={"eps": "0.1"},
        search={"pruning_method": "snip", "batch": 32},
        train={"epochs": 1, "ticket_epochs": 1, "batch": 32, "method": "natural", "lr": 0.05},
        evaluate={"images": 20, "val_steps": 1},
        study={"controls": ["dense", "ticket", "random"]},
        compute={"threads": 1},
    )
    assert set(pd.read_csv(folder / "controls.csv").arm) == {"dense", "ticket", "random"}


def own_net():
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 24), torch.nn.ReLU(), torch.nn.Linear(24, 10)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "ratios"}, "unknown study 'ratios'"),
        ({"name": "lr", "seeds": 0}, "seeds must be a whole number from 1"),
        ({"name": "lr", "seeds": [-1]}, "seeds must be a whole number from 0"),
        ({"name": "lr", "net": torch.nn.Flatten()}, "3 seeds need as many inits"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, tmp_path):
    with pytest.raises(InputError, match=message):
        rt.study(**arguments, runs=tmp_path)
