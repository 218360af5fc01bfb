"""Trainings that overfit catastrophically: what is done about it, and that they resume so."""

import copy
import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from training_case import EveryState, same_state, train

from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe import recipe as recipes
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json
from robust_tickets.stages import plan as planning
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.train import train as train_arm
from robust_tickets.training.collapse import CollapseDetector


@pytest.fixture
def mlp():
    """A small network for digits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)
        )


@pytest.fixture
def collapsing(monkeypatch):
    """The third to the twelfth step are a collapse, and the others are healthy."""
    observe = CollapseDetector._observe

    def fake(detector, products, step, group):
        observe(detector, torch.full_like(products, -1.0 if 2 <= step.number < 12 else 1.0), step, group)

    monkeypatch.setattr(CollapseDetector, "_observe", fake)
    monkeypatch.setattr("robust_tickets.training.collapse._EVERY", 2)
    monkeypatch.setattr("robust_tickets.training.collapse._DECAY", 0.5)


@pytest.fixture
def fgsm_config(config):
    settings = replace(config.settings, method="fgsm", epochs=5, overfitting="pgd", overfitting_steps=2)
    return replace(config, settings=settings, steps=20)


def test_a_training_that_is_stopped_in_recovery_resumes_with_the_same_bits(
    mlp, tiny_data, fgsm_config, collapsing
):
    every = EveryState()
    whole, account = train(copy.deepcopy(mlp), None, tiny_data, fgsm_config, checkpointer=every)
    # one pass more in steps 4 to 13: the average is 0.5 after step 13
    assert account.passes["attack"].forward == 32 * (20 + 10)
    assert [text for text in whole.warnings if text.startswith("step")] == [
        "step 2: catastrophic overfitting begins: at the images of the training attack the gradient no "
        "longer points along its step; training by PGD-2 until it has recovered"
    ]
    steps = [state["step"] for state in every.states]
    for step in (3, 13):
        again, ledger = train(
            copy.deepcopy(mlp),
            None,
            tiny_data,
            fgsm_config,
            saved=every.states[steps.index(step)],
        )
        assert same_state(again.last, whole.last)
        assert (again.history, again.warnings) == (whole.history, whole.warnings)
        assert ledger.passes == account.passes


def test_what_validation_finds_is_mended_by_pgd_until_it_finds_no_more(
    mlp, tiny_data, fgsm_config, monkeypatch
):
    monkeypatch.setattr("robust_tickets.training.collapse._EVERY", 2)
    monkeypatch.setattr(
        "robust_tickets.training.monitors.overfitted", lambda history, labels: history[-1]["epoch"] in (2, 3)
    )
    every = EveryState()
    whole, account = train(copy.deepcopy(mlp), None, tiny_data, fgsm_config, checkpointer=every)
    # epochs of 4 steps: one pass more in the third and the fourth
    assert account.passes["attack"].forward == 32 * (20 + 8)
    [warning] = [text for text in whole.warnings if "catastrophic" in text]
    assert re.fullmatch(r"epoch 2: .* to PGD; training by PGD-2 until it has recovered", warning)
    [state] = [state for state in every.states if state["step"] == 9]
    again, ledger = train(copy.deepcopy(mlp), None, tiny_data, fgsm_config, saved=state)
    assert same_state(again.last, whole.last)
    assert ledger.passes == account.passes


def test_where_asked_it_goes_back_to_the_best_epoch_at_the_end_of_the_epoch(
    mlp, tiny_data, fgsm_config, collapsing
):
    settings = replace(fgsm_config.settings, overfitting="restore-best", overfitting_steps=5)
    result, _ = train(mlp, None, tiny_data, replace(fgsm_config, settings=settings))
    assert [record["epoch"] for record in result.history] == [1]
    assert result.last_epoch == result.best_epoch == 1


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"method": "pgd", "overfitting": "pgd"}, "train.overfitting pgd does nothing to the method pgd"),
        ({"method": "fgsm", "overfitting": "pgd", "overfitting_steps": 1}, "train.overfitting_steps is 1"),
        ({"method": "fgsm", "overfitting_steps": 3}, "overfitting_steps does nothing without train.overfi"),
    ],
)
def test_settings_that_do_nothing_are_refused(table, words):
    with pytest.raises(InputError, match=re.escape(words)):
        recipes.from_table({"train": table})


def test_what_is_done_about_overfitting_is_for_the_arms_that_may_overfit():
    table = {"train": {"method": "pgd", "overfitting": "pgd"}, "compare": {"arms": ["dense", "dense+nfgsm"]}}
    recipes.from_table(table)
    with pytest.raises(InputError, match=re.escape("train.overfitting pgd does nothing to the method pgd")):
        recipes.from_table(table | {"compare": {"arms": ["dense", "dense+trades"]}})
    own = {"train": {"method": "fgsm"}, "arms": {"trades": {"overfitting": "restore-best"}}}
    with pytest.raises(InputError, match=re.escape("arms.trades.overfitting restore-best does nothing to")):
        recipes.from_table(own | {"compare": {"arms": ["dense", "dense+trades"]}})


def test_an_arm_that_went_back_has_the_epochs_that_it_took(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "robust_tickets.training.monitors.overfitted", lambda history, labels: history[-1]["epoch"] == 2
    )
    schedule = replace(tiny_recipe.train, method="fgsm", epochs=4, overfitting="restore-best")
    recipe = replace(tiny_recipe, train=schedule)
    plan = planning.plan(recipe, "dense", SPECS["digits"])
    folder = train_arm(Experiment(recipe), 0, RunDirectory.of(tmp_path, recipe), plan, None)
    assert read_json(folder.record)["epochs"] == 2
    [*_, warning] = read_json(folder.ledger)["warnings"]
    assert re.fullmatch(
        r"epoch 2: the training ends here, with the weights of epoch [12], the best one", warning
    )
