"""Each method trains a small network on digits to well above chance under PGD."""

from dataclasses import replace

import pytest
from training_case import train

from robust_tickets.attacks import ThreatModel
from robust_tickets.data import load
from robust_tickets.models import registry
from robust_tickets.recipe.fields import Data, Model
from robust_tickets.recipe.methods import METHODS
from robust_tickets.stages.specs import model_spec
from robust_tickets.training.methods.bullet import BulletSettings
from robust_tickets.training.methods.mart import MARTSettings
from robust_tickets.training.methods.trades import TRADESSettings
from robust_tickets.training.wrappers.awp import AWPSettings
from robust_tickets.training.wrappers.curriculum import CurriculumSettings

STEPS = 160
FEWER_STEPS = {
    "bullet": BulletSettings(steps=2, rel_step=0.5),
    "mart": MARTSettings(steps=2, rel_step=0.5),
    "trades": TRADESSettings(steps=2, rel_step=0.5),
}


WRAPPED = {
    "awp": {"method": "fgsm_rs", "awp": AWPSettings(gamma=0.005)},
    "curriculum": {"method": "fgsm_rs", "curriculum": CurriculumSettings(0.8, steps=2)},
}


@pytest.mark.parametrize("method", [*(name for name in METHODS if name != "natural"), *WRAPPED])
def test_it_learns(method, tiny_recipe, config):
    recipe = replace(
        tiny_recipe, data=Data("digits", train_images=512, val_images=100), model=Model("conv-2", width=0.25)
    )
    net = registry.build(model_spec(recipe, load.load(recipe.data).spec), seed=0)
    settings = {name: value for name, value in FEWER_STEPS.items() if name == method}
    settings = WRAPPED.get(method, {"method": method, **settings})
    training = replace(config.settings, schedule="one-cycle", lr=0.1, **settings)
    result, _ = train(
        net,
        None,
        load.load(recipe.data),
        replace(config, settings=training, steps=STEPS, threat=ThreatModel("Linf", 0.05)),
    )
    assert result.history[-1]["val_robust"] > 0.15
